"""An incident: what was found, what is done about it, and how it ends. Values only."""

from __future__ import annotations

import msgspec

from monitor.core.model.nouns import Diagnosis, Finding, Position, Severity
from trainer_hooks.wire.enums import StrEnum
from trainer_hooks.wire.messages import Order, TrainingStarted
from trainer_hooks.wire.plan import Change, Plan, Settings


class IncidentState(StrEnum):
    """See the table in monitor.core.policy.lifecycle."""

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


class ActionKind(StrEnum):
    """What the policy does about an incident."""

    NONE = ""  # nothing was done yet
    WATCH = "watch"  # nothing; see whether it heals by itself
    WAIT = "wait"  # nothing yet: an action was just taken
    EXAMINE = "examine"  # have a checkpoint examined, then decide again
    GO_ON = "go_on"  # nothing, for good: the state is clean, and its bad steps stay skipped
    ADJUST = "adjust"  # change settings in place
    UNDO = "undo"  # put settings back in place: the adjustment was no cure
    ROLLBACK = "rollback"  # stop, go back to a checkpoint, start again with other settings
    STOP = "stop"  # stop for good and keep everything


class IncidentEntry(msgspec.Struct, frozen=True):
    """One line of an incident's timeline."""

    at_s: float
    text: str


class Option(msgspec.Struct, frozen=True):
    """One thing that could be done when the incident opened, with what it was projected to cost."""

    name: str  # "go back with strengthened settings", "go on", "adjust in place", "go further back"
    cost: str  # a sentence with numbers
    chosen: bool


class FactsAtOpen(msgspec.Struct):
    """What was known when the incident opened."""

    started: TrainingStarted | None = None  # of the generation it began in: what the settings were
    settings: Settings | None = None  # in force then: what every action is strengthened from
    samples: list[str] = []  # names of samples in the first bad batches; more come until something is done
    nonfinite: int = 0  # batches between the onset and the opening
    options: list[Option] = []  # what could be done


class ComparisonOutcome(StrEnum):
    """What the first losses after a return to a saved state say of it."""

    PROVEN = "proven"
    NOT_PROVEN = "not proven"  # they are others than those that were recorded
    NOT_COMPARABLE = "not comparable"


class Comparison(msgspec.Struct, frozen=True):
    """The first losses after a return, held against those that were recorded."""

    outcome: ComparisonOutcome
    text: str  # a clause, with its numbers


class IncidentAction(msgspec.Struct):
    """What is being done about the incident, or was done last."""

    kind: ActionKind = ActionKind.NONE  # GO_ON, ADJUST, UNDO, ROLLBACK or STOP; NONE: it is only watched
    reason: str = ""  # why this action, or why none
    waiting_for: str = ""  # digest of the checkpoint whose examination decides the next action; empty: none
    plan: Plan | None = None
    order: Order | None = None
    target: str = ""  # digest of the checkpoint rolled back to
    left_at: Position | None = None  # where the order was carried out
    applied_s: float | None = None  # when it was
    resumed_s: float | None = None  # when the new generation trained its first batch
    person_decides: bool = False  # the policy can do nothing, now or later
    declined: bool = False  # the training had recovered by itself before the order came; `reason` says what showed it
    first_losses: Comparison | None = None  # of those since it went back; None: not compared yet, or it never did

    @property
    def changes(self) -> tuple[Change, ...]:
        """The settings that the plan changes, old and new."""
        return self.plan.changes if self.plan else ()


class CureWatch(msgspec.Struct):
    """The healthy batches that end the incident. Reset by every action."""

    needed: int = 0  # at the new learning rate; 0: no watch has begun
    seen: int = 0
    notified: int = 0  # quarters of the watch that have a line in the timeline
    samples_left: int | None = None  # samples of the first bad batches that did not come again yet; None: not known


class TrialStep(StrEnum):
    """How far a training whose state is clean has come with an adjustment of its settings."""

    NONE = ""  # nothing was tried
    ADJUSTED = "adjusted"  # and it is being seen whether that helps
    UNDONE = "undone"  # it did not help; it is being seen whether it is worse without it
    SETTLED = "settled"  # the settings stay as they are now, and training goes on


class Trial(msgspec.Struct):
    """An adjustment of the settings, held against the rate of non-finite batches before it."""

    step: TrialStep = TrialStep.NONE
    rate: float = 0.0  # non-finite batches a batch: before the adjustment; once it is settled, since then
    rate_during: float = 0.0  # with the adjustment in force
    from_batch: int = 0  # Counts.batches of rank 0 when this step began
    from_bad: int = 0  # Counts.nonfinite_batches then

    @property
    def goes_on(self) -> bool:
        """True while the next batches decide what becomes of it."""
        return self.step in (TrialStep.ADJUSTED, TrialStep.UNDONE)


class IncidentTotals(msgspec.Struct):
    """What was done about the incident, and what it cost, over all its actions."""

    attempts: int = 0  # actions
    rollbacks: int = 0
    batches_discarded: int = 0
    downtime_s: float = 0.0
    hang_tries: int = 0  # new starts because the training stood still


class Incident(msgspec.Struct):
    """Everything known about one problem of a training, from its first finding to its end."""

    id: str  # "<run>-i<n>", unique for ever
    number: int  # within the run, from 1
    family: str
    severity: Severity
    state: IncidentState
    opened_s: float
    opened_at: Position
    onset: Position
    findings: list[Finding] = []
    diagnosis: Diagnosis | None = None  # None: it opened without one (by hand, or by a daemon that made none)
    at_open: FactsAtOpen = msgspec.field(default_factory=FactsAtOpen)
    action: IncidentAction = msgspec.field(default_factory=IncidentAction)
    watch: CureWatch = msgspec.field(default_factory=CureWatch)
    trial: Trial = msgspec.field(default_factory=Trial)
    totals: IncidentTotals = msgspec.field(default_factory=IncidentTotals)
    timeline: list[IncidentEntry] = []
    closed_s: float | None = None
    outcome: str = ""  # how it ended, in a sentence without a full stop
    damaged_at: Position | None = None  # from here on the state is damaged; None: it is clean, as far as is known
    asked: bool = False  # a person asked for a rollback that has not begun yet
    one_event: bool = False  # one event damaged it, and is over
    findings_left_out: int = 0  # beyond those that are kept
    acknowledged_s: float | None = None  # a person has seen it
    acknowledged_by: str = ""
    adjusting_asked: bool = False  # it was opened because a person asked for other settings
    hangs: bool = False  # the training stands still; until its next batch

    @property
    def began(self) -> Position:
        """The onset, dated back to where the state was damaged if that came before the first finding."""
        damaged = self.damaged_at
        if damaged is None or damaged.generation != self.onset.generation or damaged.count >= self.onset.count:
            return self.onset
        return damaged

    @property
    def tolerated(self) -> bool:
        """True where training goes on although its batches are not finite: the state behind them is clean."""
        return self.action.kind == ActionKind.GO_ON or self.trial.step is TrialStep.SETTLED

    @property
    def acted_on(self) -> bool:
        """True where something that was done is in force, or is about to be."""
        return self.action.kind in (ActionKind.ADJUST, ActionKind.ROLLBACK)

    @property
    def live(self) -> bool:
        """True while something may still come of it."""
        return self.state in (
            IncidentState.OPEN,
            IncidentState.MITIGATING,
            IncidentState.WATCHING,
            IncidentState.RELAPSED,
        )
