"""The vocabulary of the core: what goes in, what comes out, and the nouns both speak of. Values only.

`Input` is one closed union; whoever sends one, it is journaled with a sequence number and enters through the core's one
door. `Effect` is what the core asks the edge to do; its id makes carrying it out twice harmless.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from trainer_hooks.wire.messages import Order, Record, TrainingStarted
from trainer_hooks.wire.runfolder import Change, Exit, Manifest, Plan, Receipt, RunSpec, Settings


class Severity(StrEnum):
    """How bad, for people and for the policy."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Verdict(StrEnum):
    """What may be believed of a checkpoint. `sound` is what the verifier says of its bytes; the rest is the vault's."""

    WAITING = "waiting"  # not examined yet
    SOUND = "sound"  # bytes match the digest and every number in it is as it should be
    CLEAN = "clean"  # sound, saved before every known anomaly, and followed by healthy batches
    SUSPECT = "suspect"  # sound, but saved after the onset of an anomaly, or nothing healthy followed yet
    POISONED = "poisoned"
    UNVERIFIED = "unverified"  # could not be read in full: never clean


class IncidentState(StrEnum):
    """See the table in monitor.policy.lifecycle."""

    OPEN = "open"
    MITIGATING = "mitigating"
    WATCHING = "watching"
    RELAPSED = "relapsed"
    RESOLVED = "resolved"
    RECOVERED = "recovered"  # by itself
    GIVEN_UP = "given_up"
    HANDED_OVER = "handed_over"
    CLOSED = "closed_with_run"
    LOST = "lost"


class Position(msgspec.Struct, frozen=True):
    """A batch of a run."""

    generation: int
    epoch: int  # from 1
    batch: int  # within the epoch, from 0
    count: int  # batches since the generation began, this one included


class Finding(msgspec.Struct, frozen=True):
    """What a detector saw, with the evidence for it."""

    detector: str
    family: str  # findings of one family make one incident: "nonfinite"
    severity: Severity
    rank: int
    at: Position
    since: Position  # onset: the first bad batch, dated back
    signal: str  # "loss", "gradient", "buffer", ...
    value: float  # what was measured, in the unit `summary` names
    limit: float  # what it was held against
    summary: str  # one sentence


class IncidentEntry(msgspec.Struct, frozen=True):
    """One line of an incident's story."""

    at_s: float
    text: str


class Incident(msgspec.Struct):
    """Everything known about one trouble of a run, from its first finding to its end."""

    id: str  # "<run>-<n>", unique for ever
    number: int  # within the run, from 1
    family: str
    severity: Severity
    state: IncidentState
    opened_s: float
    opened_at: Position
    onset: Position
    findings: list[Finding] = []
    story: list[IncidentEntry] = []
    onset_samples: list[str] = []
    rung: str = ""  # what is being tried, or was last: "adjust", "rollback", "stop"; empty: only watched
    attempts: int = 0  # actions taken for this incident
    rollbacks: int = 0
    order: Order | None = None  # pending or last
    plan: Plan | None = None
    training: TrainingStarted | None = None  # of the generation it began in: what the settings were
    before: Settings | None = None  # in force when it opened: what every attempt is strengthened from
    settings: Settings | None = None  # of the last attempt
    changes: list[Change] = []
    reason: str = ""  # why this rung
    options: list[Option] = []
    target: str = ""  # digest of the checkpoint rolled back to
    waiting_for: str = ""  # digest of the checkpoint whose examination decides the next step; empty: none
    applied_s: float | None = None  # the receipt
    left_at: Position | None = None  # where the order was obeyed
    resumed_s: float | None = None  # first batch of the new generation
    watch_from: int = 0  # Counts.batches of the watched generation when the watch (re)started
    watch_needed: int = 0  # healthy batches at target that prove the cure
    watch_seen: int = 0
    watch_said: int = 0  # quarters of the watch already told
    samples_left: int | None = None
    batches_discarded: int = 0
    nonfinite_at_open: int = 0  # of the run
    window_nonfinite: int = 0  # between the onset and the opening
    downtime_s: float = 0.0
    closed_s: float | None = None
    outcome: str = ""

    @property
    def live(self) -> bool:
        """True while something may still come of it."""
        return self.state in (
            IncidentState.OPEN,
            IncidentState.MITIGATING,
            IncidentState.WATCHING,
            IncidentState.RELAPSED,
        )


class Option(msgspec.Struct, frozen=True):
    """One thing that could be done when the incident opened, with what it was projected to cost."""

    name: str  # "stop and strengthen", "go on", "adjust in place", "go further back"
    cost: str  # a sentence with numbers
    chosen: bool


# --- inputs ---------------------------------------------------------------------------------------------------------


class RunOpened(msgspec.Struct, frozen=True, tag="run_opened"):
    """A run is announced (by its shim, or by the first frame of an unannounced one).

    Opening it again changes nothing.
    """

    spec: RunSpec
    policy: str  # the effective policy as JSON; monitor.policy.settings.Policy


class GenerationStarted(msgspec.Struct, frozen=True, tag="generation_started"):
    """The shim started the training's process. Without a shim the first frame of a generation says it instead."""

    run: str
    number: int
    nonce: str
    pid: int
    shim_pid: int


class GenerationExited(msgspec.Struct, frozen=True, tag="generation_exited"):
    """The training's process is gone, with all its descendants."""

    run: str
    exit: Exit
    relaunch: bool  # True: the shim is about to start the next generation from its plan


class RunEnded(msgspec.Struct, frozen=True, tag="run_ended"):
    """The shim will start nothing more."""

    run: str
    how: str  # "finished", "failed", "stopped", "held"
    detail: str


class ShimChanged(msgspec.Struct, frozen=True, tag="shim_changed"):
    """The shim of a run is gone (pid 0), or another one took over."""

    run: str
    shim_pid: int


class RecordArrived(msgspec.Struct, frozen=True, tag="record"):
    """A record of the run's current generation, in the order of its rank."""

    run: str
    generation: int
    rank: int
    record: Record


class CommandGiven(msgspec.Struct, frozen=True, tag="command"):
    """An operator asks for something."""

    run: str
    kind: str  # "stop", "rollback"
    by: str


class CheckpointExamined(msgspec.Struct, frozen=True, tag="examined"):
    """Result of ExamineCheckpoint."""

    run: str
    manifest: Manifest
    path: str  # where the adopted copy lies; empty: it could not be adopted
    verdict: Verdict  # SOUND, POISONED or UNVERIFIED
    reasons: tuple[str, ...]  # sentences
    seconds: float
    name: str = ""  # of the manifest's file; empty: there was none to read


class PlanWritten(msgspec.Struct, frozen=True, tag="plan_written"):
    """Result of WritePlan."""

    run: str
    plan: str
    error: str  # empty: it is on disk


class ReceiptFound(msgspec.Struct, frozen=True, tag="receipt"):
    """A receipt lies in the run folder (the shim saw it, or recovery did)."""

    run: str
    receipt: Receipt


class AlertSettled(msgspec.Struct, frozen=True, tag="alert_settled"):
    """A receiver took an alert, or refused it for good."""

    run: str
    alert: str
    receiver: str
    outcome: str  # "delivered", "refused", "expired"


class FramesRefused(msgspec.Struct, frozen=True, tag="frames_refused"):
    """Frames of a run that were not taken since the last such input."""

    run: str
    count: int
    reason: str


class Tick(msgspec.Struct, frozen=True, tag="tick"):
    """Time has passed."""


Input = (
    RunOpened
    | GenerationStarted
    | GenerationExited
    | RunEnded
    | ShimChanged
    | RecordArrived
    | CommandGiven
    | CheckpointExamined
    | PlanWritten
    | ReceiptFound
    | AlertSettled
    | FramesRefused
    | Tick
)


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One line of the journal."""

    seq: int
    now_s: float  # Unix time that never goes back
    input: Input


# --- effects --------------------------------------------------------------------------------------------------------


class ExamineCheckpoint(msgspec.Struct, frozen=True, tag="examine"):
    """Adopt the copy named by `manifest` (or look at the adopted one again) and verify it.

    Answers CheckpointExamined.
    """

    id: str
    run: str
    manifest: str  # file name in the spool
    digest: str


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
    """Tell people. Stored in the outbox in the same transaction as the input that caused it."""

    id: str  # stable: the same alert has the same id over restarts
    run: str
    kind: str  # "incident_opened", "rolled_back", "adjusted", "resolved", "given_up", "supervisor_lost", "watch", ...
    severity: Severity
    incident: str  # id; empty: none
    title: str
    text: str
    at_s: float


class Say(msgspec.Struct, frozen=True, tag="say"):
    """A line for whoever looks at the run's terminal."""

    id: str
    run: str
    severity: Severity
    text: str


class WriteReport(msgspec.Struct, frozen=True, tag="report"):
    """(Re)write the incident's report from the state as it is now."""

    id: str
    run: str
    incident: str


class EndTraining(msgspec.Struct, frozen=True, tag="end_training"):
    """Ask the run's shim to end the training by signals: an order to stop for good was not obeyed in time."""

    id: str
    run: str


Effect = ExamineCheckpoint | KeepCheckpoints | WritePlan | SendOrder | RaiseAlert | Say | WriteReport | EndTraining
