"""What is learned of one rank: rolling statistics, rewound when its training rolls back. Values only."""

from __future__ import annotations

import msgspec

from monitor.core.model import Position
from monitor.core.state.allocator import Allocator
from monitor.core.state.line import Line
from monitor.core.state.pace import Pace
from monitor.core.state.signals import Signal
from monitor.core.state.updates import Updates


class NonfiniteWindow(msgspec.Struct):
    """Where the last bad batches were, within a window: `counts` holds Counts.batches of each, oldest first."""

    counts: list[int] = []
    positions: list[Position] = []


class Blocks(msgspec.Struct, omit_defaults=True):
    """What the low quarter of whole blocks of samples came to: periodic slowness is in it, a lasting one is new."""

    seen: int = 0  # blocks
    high: float = 0.0  # highest quarter quantile of a block that is learnt, scaled
    waiting: float = 0.0  # of the last block: learnt one block late, or what is to be found would be learnt first
    over: int = 0  # blocks in a row that were above it by more than is learnt


class Memory(msgspec.Struct, omit_defaults=True):
    """GPU memory of one rank: the level it has reached, and the straight line through it. Bytes and batches."""

    seen: int = 0
    high: float = 0.0  # reserved, learnt
    over: int = 0  # batches in a row above it
    held: float = 0.0  # lowest reserved of those
    line: Line = msgspec.field(default_factory=Line)  # a point every LINE_STRIDE batches, by Counts.batches


class Scaler(msgspec.Struct, omit_defaults=True):
    """The loss scale of one rank, by Counts.batches of its last falls and overflows, oldest first and bounded."""

    last: float | None = None
    falls: list[int] = []
    overflows: list[int] = []


class LossBlock(msgspec.Struct, frozen=True, array_like=True):
    """A block of losses, from its first batch on."""

    generation: int
    epoch: int
    batch: int
    count: int  # Counts.batches
    median: float  # scaled, as in Signal

    @property
    def at(self) -> Position:
        """Its first batch."""
        return Position(self.generation, self.epoch, self.batch, self.count)


class LossBlocks(msgspec.Struct, omit_defaults=True):
    """The medians of the last blocks of losses, oldest first: a level that no slow rise takes along."""

    began: Position | None = None  # the first batch of the block that is not full yet
    size: int = 0  # losses in it
    blocks: list[LossBlock] = []
    best: float | None = None  # the lowest median since the loss has had a level; None: it has none yet
    peak: float | None = None  # until then: the highest median so far
    since_peak: int = 0  # blocks that came no higher


class LossLevel(msgspec.Struct, omit_defaults=True):
    """What the last few dozen losses are like, scaled as in Signal: see monitor.core.state.loss_level."""

    middle: float | None = None  # the median of those before the newest, at the last comparison; None: no loss yet
    edge: float = 0.0  # a row above it may be the beginning of something
    busy: bool = True  # the next row is looked at, whatever it is
    occasions: int = 0  # bits that detectors wait for, of the newest row
    spread: float = 0.0
    slow_spread: float = 0.0
    slow_shift: float = 0.0  # by how much the newest median usually differs from the older one
    compared: int = 0  # rows that slow_shift is the mean of, up to its most
    lowest: float | None = None  # the lowest `middle` since the rate last rose
    peak: float = 0.0  # the largest distance above the median, slowly forgotten
    jump: float = 0.0  # that of the newest row, where it is far beyond any before; else 0
    high: int = 0  # bits: which of the last few rows lay above the edge, the newest lowest
    gated_until: int = 0  # until that many losses were seen a higher loss has a known reason


class RateStep(msgspec.Struct):
    """The last step of the learning rate: what loss and norm were like before it, as long as its reason may come."""

    count: int  # Counts.batches
    before: dict[str, Signal]
    blocks: LossBlocks


class SettingJump(msgspec.Struct):
    """A setting jumped for no known reason: see monitor.core.state.setting_jumps."""

    at: Position  # the first batch with it
    level: float  # of the loss before it, scaled as in Signal
    margin: float  # above that level a loss is away from it, scaled
    name: str
    old: str  # the value before it
    back: int = 0  # Counts.batches of the first batch at about the old value again; 0: it still stands
    top: float = 0.0  # how far above its level the loss came
    off: int = 0  # batches in which the loss was away from its level, since the setting stands or is back
    calm: int = 0  # batches in a row in which it was not


class Learned(msgspec.Struct, omit_defaults=True):
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
    highest_rate: float = 0.0  # of the first group
    rate_step: RateStep | None = None
    unexplained: bool = False  # a setting changed for no known reason: loss and norm are looked at more closely
    loss_blocks: LossBlocks = msgspec.field(default_factory=LossBlocks)
    loss_level: LossLevel = msgspec.field(default_factory=LossLevel)
    bad_norms: list[int] = []  # Counts.batches of the last finite losses whose gradient norm was not, oldest first
    jump: SettingJump | None = None  # until the loss is at its level again
