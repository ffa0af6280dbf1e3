"""What the state keeps of each epoch and of each checkpoint. Values only."""

from __future__ import annotations

import msgspec

from monitor.core.format import saved_cell, saved_place
from monitor.core.model import EpochStatus, Position, Verdict
from monitor.core.state.learned import Learned
from monitor.core.state.signals import Signal
from trainer_hooks.wire.run_documents import Manifest


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
    skipped_by_script: int = 0

    @property
    def skipped(self) -> int:
        """Optimizer steps left out, by whomever."""
        return self.skipped_by_guard + self.skipped_by_scaler + self.skipped_by_script


class BatchLoss(msgspec.Struct, frozen=True, array_like=True):
    """The loss of one batch; finite."""

    epoch: int
    batch: int
    loss: float


class FirstLosses(msgspec.Struct):
    """The first losses after a return to a saved state, until they are compared."""

    loss: Signal | None  # as it was when the state was saved; None: not known
    recorded: list[BatchLoss] = []  # of the batches after the state, where these are trained again
    after: list[BatchLoss] = []  # of the batches after the state, up to the first bad one
    seen: list[BatchLoss] = []  # since the return


class CheckpointState(msgspec.Struct):
    """One saved state that the hook spooled: the copy of a checkpoint, or a snapshot."""

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
    healthy_longest: int = 0  # most healthy batches in a row that followed, up to the last bad one; see healthy_after
    examined_s: float = 0.0
    abandoned: bool = False  # a rollback went back to before it
    level_lost: bool = False  # the loss was far above its best level at the save
    learned: Learned | None = None  # as it was at the save
    manifest: Manifest | None = None
    extra_batches: int = 0  # of the epoch after `epoch`, which it holds as well; above 0: it is a snapshot
    following: list[BatchLoss] = []  # of the first batches after it

    @property
    def is_snapshot(self) -> bool:
        """True: trainwarden saved it, within an epoch."""
        return self.extra_batches > 0

    @property
    def holds(self) -> tuple[int, int]:
        """How much training it holds: whole epochs, and batches of the next one. Greater is later."""
        return self.epoch, self.extra_batches

    @property
    def place(self) -> str:
        """Where in the training it was saved, in words."""
        return saved_place(self.epoch, self.extra_batches)

    @property
    def cell(self) -> str:
        """The same in a table's column of epochs."""
        return saved_cell(self.epoch, self.extra_batches)

    @property
    def resumed(self) -> bool:
        """True: the training did not save it, it was resumed from it."""
        return self.manifest is not None and self.manifest.resumed

    @property
    def title(self) -> str:
        """What people call it."""
        if self.is_snapshot:
            return f"snapshot at {self.place}"
        return f"checkpoint of epoch {self.epoch}{' (resumed from)' if self.resumed else ''}"


class Anomaly(msgspec.Struct):
    """Something finite that is out of the usual, from its first batch until it is over."""

    detector: str
    family: str  # LOSS, GRADIENT or SETTINGS
    rank: int
    since: Position  # the first batch of it
    last: Position  # when a detector last found it
    signal: str
    limit: float  # of the finding, in the signal's own unit
    summary: str
    ended: Position | None = None  # None: it still stands
    early: bool = False  # among the first losses: many healthy ones rise there


class Anomalies(msgspec.Struct):
    """The finite anomalies of a training; see monitor.core.state.anomalies."""

    standing: list[Anomaly] = []
    past: list[Anomaly] = []  # the last ones that are over
