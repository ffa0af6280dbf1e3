"""What comes out of the core: the closed union `Effect`. Values only."""

from __future__ import annotations

import msgspec

from monitor.core.model.nouns import AlertKind, Finding, Severity
from trainer_hooks.wire.messages import Order
from trainer_hooks.wire.plan import Plan


class ExamineCheckpoint(msgspec.Struct, frozen=True, tag="examine"):
    """Adopt the copy named by `manifest` (or look at the adopted one again) and verify it.

    Answers CheckpointExamined.
    """

    id: str
    run: str
    manifest: str  # file name in the spool
    digest: str
    training: int = 1


class KeepCheckpoints(msgspec.Struct, frozen=True, tag="keep"):
    """Every adopted copy of the run that is not named here may go."""

    id: str
    run: str
    digests: tuple[str, ...]


class WritePlan(msgspec.Struct, frozen=True, tag="write_plan"):
    """Write the plan durably under `name` in the run folder; answers PlanWritten."""

    id: str
    run: str
    name: str
    plan: Plan


class SendOrder(msgspec.Struct, frozen=True, tag="send_order"):
    """Send the order to its rank; asked for again on ticks until it is answered."""

    id: str
    order: Order


class RaiseAlert(msgspec.Struct, frozen=True, tag="alert"):
    """Alert people. Stored in the outbox in the same transaction as the input that caused it."""

    id: str  # stable: the same alert has the same id over restarts
    run: str
    kind: AlertKind
    severity: Severity
    incident: str  # id; empty: none
    title: str
    text: str
    at_s: float
    family: str = ""  # of the finding that it is about; empty: of its incident, or it is about none


class Notify(msgspec.Struct, frozen=True, tag="say"):  # its name on disk since the first version
    """A line on the run's terminal and in the timeline of the daemon."""

    id: str
    run: str
    severity: Severity
    text: str
    family: str = ""  # of the findings that the line is about; empty: of none, or the findings are an output beside it


class WriteReport(msgspec.Struct, frozen=True, tag="report"):
    """(Re)write the incident's report from the state as it is now."""

    id: str
    run: str
    incident: str


class KeepState(msgspec.Struct, frozen=True, tag="keep_state"):
    """The run is over: keep what a report of it needs in its folder, since the state forgets it after a day."""

    id: str
    run: str


class EndTraining(msgspec.Struct, frozen=True, tag="end_training"):
    """Ask the run's supervisor to end the training by signals: an order to stop for good was not obeyed in time."""

    id: str
    run: str


class LookAtTraining(msgspec.Struct, frozen=True, tag="look"):
    """Find out from outside what a rank is doing that answers nothing; answers StacksTaken."""

    id: str
    run: str
    generation: int
    rank: int
    order: str  # the unanswered one
    training: int = 1


Effect = (
    ExamineCheckpoint
    | KeepCheckpoints
    | WritePlan
    | SendOrder
    | RaiseAlert
    | Notify
    | WriteReport
    | EndTraining
    | LookAtTraining
    | KeepState
)


class Output(msgspec.Struct, frozen=True):
    """What one input led to."""

    effects: list[Effect] = []
    findings: list[Finding] = []  # new ones: what a detector goes on saying is not repeated
