"""The picture of one run: what was learned (rewound on a rollback) and the ledger (which only moves forward).

Everything here is a msgspec struct, so a snapshot of the whole state is its encoding and nothing else.
"""

from __future__ import annotations

import msgspec

from monitor.core.model import EpochStatus, Finding, Incident, Position, Severity, Verdict
from monitor.core.state.allocator import Allocator
from monitor.core.state.hardware import HardwareState
from monitor.core.state.line import Line
from monitor.core.state.pace import Pace
from monitor.core.state.signals import Signal
from monitor.core.state.stacks import Stacks
from monitor.core.state.trace import Trace
from monitor.core.state.updates import Updates
from trainer_hooks.wire.messages import (
    BatchEnded,
    Counts,
    NonfiniteSeen,
    Order,
    PlanApplied,
    SettingChanged,
    TrainingStarted,
)
from trainer_hooks.wire.runfolder import Manifest, RunSpec, Settings
from trainer_hooks.wire.words import Phase


class NonfiniteWindow(msgspec.Struct):
    """Where the last bad batches were, within a window: `counts` holds Counts.batches of each, oldest first."""

    counts: list[int] = []
    positions: list[Position] = []


class Blocks(msgspec.Struct):
    """What the low quarter of whole blocks of samples came to: periodic slowness is in it, a lasting one is new."""

    seen: int = 0  # blocks
    high: float = 0.0  # highest quarter quantile of a block that is learnt, scaled
    waiting: float = 0.0  # of the last block: learnt one block late, or what is to be found would be learnt first
    over: int = 0  # blocks in a row that were above it by more than is learnt


class Memory(msgspec.Struct):
    """GPU memory of one rank: the level it has reached, and the straight line through it. Bytes and batches."""

    seen: int = 0
    high: float = 0.0  # reserved, learnt
    over: int = 0  # batches in a row above it
    held: float = 0.0  # lowest reserved of those
    line: Line = msgspec.field(default_factory=Line)  # a point every LINE_STRIDE batches, by Counts.batches


class Scaler(msgspec.Struct):
    """The loss scale of one rank, by Counts.batches of its last falls and overflows, oldest first and bounded."""

    last: float | None = None
    falls: list[int] = []
    overflows: list[int] = []


class Learned(msgspec.Struct, rename={"size_mismatch_streak": "odd_sizes"}):
    """Rolling statistics of one rank. Snapshotted at each checkpoint, restored when the run rolls back to it."""

    signals: dict[str, Signal] = {}
    nonfinite: NonfiniteWindow = msgspec.field(default_factory=NonfiniteWindow)
    uncured: int = 0  # non-finite parameters or buffers that the guard did not cure, since the last known clean state
    times: Blocks = msgspec.field(default_factory=Blocks)  # of batch_s
    memory: Memory = msgspec.field(default_factory=Memory)
    scaler: Scaler = msgspec.field(default_factory=Scaler)
    rate: float = 0.0  # learning rate of the first group, last batch
    batch_size: int | None = None
    size_mismatch_streak: int = 0  # batches in a row of another size
    renewing: bool = False  # batches are of another kind, and their levels are still being learnt
    pace: Pace = msgspec.field(default_factory=Pace)
    allocator: Allocator = msgspec.field(default_factory=Allocator)
    updates: Updates = msgspec.field(default_factory=Updates)


class Streak(msgspec.Struct):
    """One detector going on about one rank."""

    generation: int
    began: int  # Counts.batches of its first finding
    count: int  # and of its last
    severity: Severity  # the worst of it


class EpochRow(msgspec.Struct):
    """One pass through an epoch, in one generation."""

    generation: int
    epoch: int
    batches_per_epoch: int
    started_s: float
    ended_s: float | None = None
    batches: int = 0
    nonfinite: int = 0
    skipped_by_guard: int = 0
    skipped_by_scaler: int = 0
    overflows: int = 0
    samples_lost: int = 0
    part_sums: list[float] = []  # over batches whose part was finite
    part_counts: list[int] = []
    loss_sum: float = 0.0
    loss_count: int = 0
    grad_norm_max: float | None = None
    reserved_first: int | None = None  # bytes
    reserved_last: int | None = None
    reserved_max: int | None = None
    allocated_max: int | None = None
    instances_max: int | None = None  # the most of any one image
    instances_max_at: int | None = None  # batch of it
    reserved_max_at: int | None = None
    rates_first: tuple[float, ...] = ()
    rates_last: tuple[float, ...] = ()
    momentum_last: float | None = None
    seconds: float | None = None  # as the trainer counted them
    metrics: dict[str, float] = {}
    fitness: float | None = None
    status: EpochStatus = EpochStatus.RUNNING


class CheckpointState(msgspec.Struct):
    """One copy of a checkpoint that the hook spooled."""

    manifest_name: str
    digest: str
    epoch: int
    generation: int
    saved_s: float
    count: int  # Counts.batches of its generation when it was saved
    is_best: bool = False
    size: int = 0
    path: str = ""  # of the adopted copy
    source: str = ""
    ordinal: int = 1
    verdict: Verdict = Verdict.WAITING  # of the bytes; see monitor.core.policy.trust for what may be believed
    reasons: list[str] = []
    healthy_after: int = 0  # healthy batches that followed, counted until they are enough to prove it
    examined_s: float = 0.0
    examining: bool = False
    abandoned: bool = False  # it belongs to a branch that was rolled back
    dropped: bool = False  # the copy is gone
    learned: Learned | None = None  # as it was at the save
    manifest: Manifest | None = None


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


class LastBatch(msgspec.Struct):
    """What the gauges show."""

    position: Position
    batch: BatchEnded

    @property
    def values(self) -> dict[str, float]:
        """By signal: "loss", "grad_norm", "momentum", ...; absent where not known."""
        told = {name: getattr(self.batch, name) for name in BatchEnded.__struct_fields__}
        return {name: float(value) for name, value in told.items() if isinstance(value, (int, float))}

    @property
    def parts(self) -> tuple[float, ...]:
        return self.batch.parts

    @property
    def rates(self) -> tuple[float, ...]:
        """Of every parameter group."""
        return self.batch.learning_rates


class Totals(msgspec.Struct):
    """Ledger: sums over every finished generation; add the present generation's Counts for the total."""

    counts: Counts = msgspec.field(default_factory=Counts)
    frames_refused: int = 0
    defects: int = 0  # inputs that raised within the core
    batches_discarded: int = 0
    rollbacks: dict[str, int] = {}  # by outcome
    orders: dict[str, int] = {}  # "<kind>/<outcome>"
    incidents: dict[str, int] = {}  # "<family>/<severity>"
    alerts: dict[str, int] = {}  # "<receiver>/<outcome>"
    histogram_batch_s: list[int] = []
    histogram_wait_s: list[int] = []
    sum_batch_s: float = 0.0
    sum_wait_s: float = 0.0
    findings: dict[str, int] = {}  # "<detector>/<severity>"; a streak counts once


class RunState(msgspec.Struct, rename={"supervisor_pid": "shim_pid", "streaks": "spells"}):
    """One run."""

    spec: RunSpec
    policy: str  # JSON
    opened_s: float
    generation: int = 0
    nonce: str = ""
    pid: int = 0
    supervisor_pid: int = 0
    alive: bool = False  # the training's process is believed to live
    ended: str = ""  # RunOutcome; empty: not ended
    ended_detail: str = ""
    ended_s: float | None = None
    training: TrainingStarted | None = None  # of the present generation
    trainings: list[TrainingStarted] = []  # the first of each generation and ordinal, bounded
    training_over: bool = False
    training_how: str = ""  # TrainingEnded.how of the last one
    phase: str = Phase.IDLE
    ranks: dict[int, RankState] = {}
    totals: Totals = msgspec.field(default_factory=Totals)
    epochs: list[EpochRow] = []
    settings_log: list[tuple[int, SettingChanged]] = []  # (generation, change), bounded
    nonfinite_log: list[tuple[int, NonfiniteSeen]] = []
    applied: list[tuple[int, PlanApplied]] = []
    checkpoints: list[CheckpointState] = []
    incidents: list[Incident] = []
    rollbacks_used: int = 0
    last_action_count: int = -1  # Counts.batches of `last_action_generation` at the last action
    last_action_generation: int = 0
    in_force: Settings | None = None  # strengthened settings, absolute; None: the user's own
    pending_order: Order | None = None  # sent again on ticks until it is answered
    pending_sent_s: float = 0.0
    pending_since_s: float = 0.0
    leaving: bool = False  # an order to stop was obeyed: its exit is no failure
    suspicion_s: float | None = None  # first non-finite batch of the present streak; None: nothing is suspicious
    kept: tuple[str, ...] = ()  # digests of the last KeepCheckpoints
    switched_off: list[str] = []  # detectors that raised
    exited_s: float | None = None
    resumed_s: float | None = None
    downtime_s: float = 0.0
    final_metrics: dict[str, float] = {}
    effect_serial: int = 0
    findings: list[Finding] = []  # the first of each streak, of every severity, bounded
    streaks: dict[str, Streak] = {}  # "<detector>/<rank>"
    watch_alerts: dict[str, tuple[int, int]] = {}  # detector: generation and Counts.batches of its last alert
    phase_since_s: float = 0.0
    longest_s: dict[str, float] = {}  # by phase: the longest wait between batches, or the longest such phase
    idle_ticks: int = 0  # since the last record
    pauses: int = 0  # phases other than training since the last batch
    stacks: Stacks = msgspec.field(default_factory=Stacks)
    train_from: int = 0  # Counts.batches of rank 0 when the present training of its generation began
    hardware: HardwareState = msgspec.field(default_factory=HardwareState)

    @property
    def incident(self) -> Incident | None:
        """The live incident; at most one of a family, and there is one family today."""
        return next((i for i in reversed(self.incidents) if i.live), None) if self.incidents else None

    @property
    def position(self) -> Position | None:
        """Where the leading rank is."""
        leader = self.ranks.get(0) or next(iter(self.ranks.values()), None)
        return leader.last.position if leader and leader.last else None


class Fleet(msgspec.Struct):
    """Every run this daemon knows, by run id: the whole state of the core."""

    runs: dict[str, RunState] = {}
    seq: int = 0  # of the last input folded
    now_s: float = 0.0
