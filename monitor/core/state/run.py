"""The state of every run: what was learned (rewound by a rollback), the facts, and the policy's ledger. Values only.

A run is one command. A training is one `train()` or `watch()` within it, and everything that is learned, counted or
decided belongs to one. A generation is one process life of the run's command. Everything here is a msgspec struct: a
snapshot of the whole state is its encoding and nothing else.
"""

from __future__ import annotations

import msgspec

from monitor.core.model import Finding, GenerationDied, Incident, Position, Severity, SilenceSet, Verdict
from monitor.core.state.hardware import HardwareState
from monitor.core.state.learned import Learned
from monitor.core.state.ledger import Ledger, RunLedger
from monitor.core.state.rows import Anomalies, CheckpointState, EpochRow, FirstLosses
from monitor.core.state.trace import Trace
from trainer_hooks.wire.messages import (
    BatchEnded,
    Counts,
    NonfiniteSeen,
    PlanApplied,
    SettingChanged,
    TrainingStarted,
)
from trainer_hooks.wire.run_documents import RunSpec
from trainer_hooks.wire.words import Phase


class Streak(msgspec.Struct):
    """Findings of one detector about one rank, one after another."""

    generation: int
    began: int  # Counts.batches of its first finding
    count: int  # and of its last
    severity: Severity  # the worst of it


class RankState(msgspec.Struct):
    """One rank of the present generation."""

    rank: int
    counts: Counts = msgspec.field(default_factory=Counts)  # of the present generation
    event_seq: int = 0  # the last event folded; earlier ones are repeats
    last_batch_s: float | None = None
    idle_ticks: int = 0  # since its last record
    last: LastBatch | None = None
    learned: Learned = msgspec.field(default_factory=Learned)
    trace: Trace = msgspec.field(default_factory=Trace)  # of the first few ranks; never rewound
    unskipped: int = 0  # non-finite batches whose step was taken
    unskipped_given_up: int = 0  # of those: those before it last went back within its process


class Taken(msgspec.Struct, frozen=True):
    """What had arrived of a rank when its process was gone. Its last records may come later, or once more."""

    event_seq: int = 0
    counts: Counts = Counts()  # which the totals hold


class LastBatch(msgspec.Struct):
    """What the gauges show."""

    position: Position
    batch: BatchEnded

    @property
    def values(self) -> dict[str, float]:
        """By signal: "loss", "grad_norm", "momentum", ...; absent where not known."""
        fields = {name: getattr(self.batch, name) for name in BatchEnded.__struct_fields__}
        return {name: float(value) for name, value in fields.items() if isinstance(value, (int, float))}

    @property
    def parts(self) -> tuple[float, ...]:
        return self.batch.parts

    @property
    def rates(self) -> tuple[float, ...]:
        """Of every parameter group."""
        return self.batch.learning_rates


class Totals(msgspec.Struct):
    """Sums over the finished generations of one training; add the present generation's Counts for the total."""

    counts: Counts = msgspec.field(default_factory=Counts)
    batches_discarded: int = 0
    histogram_batch_s: list[int] = []
    histogram_wait_s: list[int] = []
    sum_batch_s: float = 0.0
    sum_wait_s: float = 0.0
    findings: dict[str, int] = {}  # "<detector>/<severity>"; a streak counts once
    batches_unseen: int = 0  # of rank 0: counted by their process, and no record of them arrived


class Silence(msgspec.Struct):
    """How long a training is silent between two records, by what it does then: see monitor.core.state.intervals."""

    phase_since_s: float = 0.0
    longest_s: dict[str, float] = {}  # by phase: the longest wait between batches, or the longest such phase
    idle_ticks: int = 0  # since the last record
    pauses: int = 0  # phases other than training since the last batch
    train_from: int = 0  # Counts.batches of rank 0 when it began in the present generation
    usual_start_s: float | None = None  # until the first batch of this training on this machine; None: not learnt yet


class TrainingState(msgspec.Struct):
    """One training of a run."""

    number: int  # within the run, from 1
    generation: int = 0  # the last one that it ran in
    started: TrainingStarted | None = None  # as the present generation sent it
    starts: list[TrainingStarted] = []  # the first of each generation, bounded
    over: bool = False  # train() has returned or raised in the present generation
    how: str = ""  # TrainingEnded.how of the last time
    phase: str = Phase.IDLE
    silence: Silence = msgspec.field(default_factory=Silence)
    ranks: dict[int, RankState] = {}  # of the present generation
    taken: dict[int, Taken] = {}  # by rank, once the process is gone: what came of the present generation until then
    last_bad: int = 0  # Counts.batches of rank 0 at its last non-finite batch in the present generation
    unwatched: dict[str, str] = {}  # by hook that is switched off: what it does not do any more, a clause
    left_at: Position | None = None  # the last batch of the generation before
    discarded: int = 0  # batches that the last rollback gave up
    gone_back: str = ""  # the last order that made it go back within its process
    given_up: list[tuple[int, int]] = []  # in its process: after and until which count of this generation
    first_losses: FirstLosses | None = None  # since it last went back; None: it never did
    totals: Totals = msgspec.field(default_factory=Totals)
    epochs: list[EpochRow] = []
    settings_log: list[tuple[int, SettingChanged]] = []  # (generation, change), bounded
    nonfinite_log: list[tuple[int, NonfiniteSeen]] = []
    applied: list[tuple[int, PlanApplied]] = []
    checkpoints: list[CheckpointState] = []
    final_metrics: dict[str, float] = {}
    findings: list[Finding] = []  # the first of each streak, of every severity, bounded
    streaks: dict[str, Streak] = {}  # "<detector>/<rank>"
    ledger: Ledger = msgspec.field(default_factory=Ledger)
    detail: str = ""  # TrainingEnded.detail of the last time: the exception, if one ended it
    anomalies: Anomalies = msgspec.field(default_factory=Anomalies)
    died_at: Position | None = None  # where its process died, just after its last batch; None: it has not, or goes on
    healed_at: tuple[int, int] = (0, 0)  # generation and batches when it last answered that it need not go back

    @property
    def last_start(self) -> TrainingStarted | None:
        """What it reported when it began last, in whichever generation that was."""
        return self.started or (self.starts[-1] if self.starts else None)

    @property
    def incident(self) -> Incident | None:
        """The live incident; at most one."""
        return self.ledger.incident

    @property
    def position(self) -> Position | None:
        """Where the leading rank is."""
        leader = self.ranks.get(0) or next(iter(self.ranks.values()), None)
        return leader.last.position if leader and leader.last else None

    @property
    def seen(self) -> bool:
        """True once a record of it arrived."""
        return self.started is not None or bool(self.starts or self.ranks)

    def shows_damage(self, checkpoint: CheckpointState) -> bool:
        """True where a state is poisoned, and the training has not been found finite since it was saved."""
        later = (checkpoint.generation, checkpoint.count) > self.healed_at
        return checkpoint.verdict is Verdict.POISONED and later

    def dropped(self, checkpoint: CheckpointState) -> bool:
        """True where the copy was not worth keeping."""
        return checkpoint.digest in self.ledger.copies.dropped


class RunState(msgspec.Struct):
    """One run: its process, its end, and its trainings."""

    spec: RunSpec
    policy: str  # JSON
    opened_s: float
    generation: int = 0
    nonce: str = ""
    pid: int = 0
    supervisor_pid: int = 0
    alive: bool = False  # the process of the generation is believed to live
    exited_s: float | None = None  # when it exited, or began to stand still before, until the next one trains
    downtime_s: float = 0.0
    ended: str = ""  # RunOutcome; empty: not ended
    ended_detail: str = ""
    ended_s: float | None = None
    trainings: dict[int, TrainingState] = msgspec.field(default_factory=lambda: {1: TrainingState(1)})  # by number
    current: int = 1  # number of the training that began last
    hardware: HardwareState = msgspec.field(default_factory=HardwareState)
    machine_deaths: int = 0  # generations that died because the machine did
    died_with_machine: int = 0  # the last of them; 0: none
    frames_refused: int = 0
    alerts: dict[str, int] = {}  # "<receiver>/<outcome>"
    switched_off: list[str] = []  # detectors that raised
    ledger: RunLedger = msgspec.field(default_factory=RunLedger)
    death: GenerationDied | None = None  # the last one after which the supervisor waited for a plan
    relaunched: int = 0  # the generation that the supervisor has said it starts from its plan
    restored_s: float = 0.0  # when its state was read back after the daemon had forgotten it

    @property
    def dead(self) -> bool:
        """True where the present generation has died, and it is decided what follows."""
        return self.death is not None and self.death.exit.number == self.generation

    @property
    def training(self) -> TrainingState:
        """The training that began last."""
        return self.trainings[self.current]

    @property
    def going_on(self) -> TrainingState:
        """The training that began last of those that go on; where none does, the one that began last."""
        if self.trains(self.training) and self.training.started is not None:
            return self.training
        others = [each for each in self.trainings.values() if self.trains(each) and each.started is not None]
        return max(others, key=lambda each: each.number, default=self.training)

    def trains(self, training: TrainingState) -> bool:
        """True while this training's process lives and it is not over."""
        return self.alive and training.generation == self.generation and not training.over


class MachineStarts(msgspec.Struct, frozen=True):
    """The first batches that one training has reached on this machine."""

    count: int = 0
    later_s: float = 0.0  # the longest way to one, without the first, which may have compiled kernels


STATE_VERSION = 2  # of snapshots; raise it when a field changes its name or its place


class Fleet(msgspec.Struct):
    """Every run this daemon knows, by run id: the whole state of the core."""

    runs: dict[str, RunState] = {}
    seq: int = 0  # of the last input folded
    now_s: float = 0.0
    version: int = STATE_VERSION
    silences: dict[str, SilenceSet] = {}  # by id
    starts: dict[str, MachineStarts] = {}  # by training, see monitor.core.state.first_batches; the last one is newest
