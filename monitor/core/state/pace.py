"""How fast a training goes, over long windows and whole epochs, and what work a batch was. O(1) a batch. Pure.

Of each block of batches the median time is kept, so that stalls between fast batches don't count; a window is eight
blocks. Levels are logarithms of seconds. What the work of a batch explains is no slowness: see `work_of`.
"""

from __future__ import annotations

import math

import msgspec

from trainer_hooks.wire.messages import BatchEnded

BLOCK = 32  # batches
WINDOW = 8  # blocks
DELAY = 12  # blocks before a window is learnt: so many that none which is half slow hides the slow ones after it
PERIOD = 128  # blocks: 4,096 batches, within which whatever comes back with every epoch is seen
WORK_STRIDE = 4  # batches, of which one is asked for its work
EPOCH_BLOCKS_MIN = 4  # shorter epochs say little by their mean
SECONDS_MIN = 1e-9  # stands for a clock that did not move
SLOW_EPOCH = math.log(1.2)  # epochs of one run differ by some per cent, as caches and neighbours do


class PaceLevel(msgspec.Struct):
    """The pace of some batches."""

    log_s: float
    work: float  # mean of work_of


class Span(msgspec.Struct):
    """The slowest and the fastest window of one period."""

    slowest: PaceLevel
    fastest_log_s: float


class Pace(msgspec.Struct, omit_defaults=True):
    """What one rank's batches take."""

    block: list[float] = []  # seconds of the batches of the unfinished block
    block_work: float = 0.0
    window: list[PaceLevel] = []  # the last WINDOW blocks, oldest first
    waiting: list[PaceLevel] = []  # levels of the last DELAY windows, which would hide what is to be found
    spans: list[Span] = []  # of the period before and of this one
    learnt: int = 0  # windows, each one block after the last
    epoch: int = 0
    epoch_s: float = 0.0
    epoch_work: float = 0.0
    epoch_blocks: int = 0  # that ended in it
    best_epoch: PaceLevel | None = None
    last_epoch: PaceLevel | None = None
    slow_epochs: int = 0  # in a row, slower than the best by more than SLOW_EPOCH

    @property
    def slowest(self) -> PaceLevel | None:
        """The slowest window of this period and the one before it; None: none is learnt."""
        return max((span.slowest for span in self.spans), key=lambda level: level.log_s, default=None)

    @property
    def range(self) -> float:
        """By how much the windows of both periods differ, in log space: what this training does by itself."""
        if self.slowest is None:
            return 0.0
        return self.slowest.log_s - min(span.fastest_log_s for span in self.spans)


def work_of(batch: BatchEnded) -> float:
    """A number that grows at least as fast as the time a batch may need: for what it holds, not for its size alone.

    The square of the sequence's length (attention), the area of the image, and the instances in it. A batch of another
    size is another shape, after which everything here is learnt again.
    """
    work = 1.0
    if batch.sequence_length:
        work *= batch.sequence_length * batch.sequence_length
    if batch.image_size:
        work *= batch.image_size * batch.image_size
    if batch.instances:
        work *= 1 + batch.instances
    return float(work)


def take_pace(pace: Pace, batch: BatchEnded, seconds: float) -> None:
    """Learn the time of one batch; the first one of an epoch is left out, since it may hold what lies between two."""
    block = pace.block
    if batch.epoch != pace.epoch:
        _end_epoch(pace, batch.epoch)
        return
    if len(block) % WORK_STRIDE == 0:
        pace.block_work += work_of(batch)
    block.append(seconds)
    if len(block) >= BLOCK:
        _end_block(pace)


def explained(now: PaceLevel, before: PaceLevel) -> float:
    """How much of a rise in time, in log space, the work explains; never less than nothing."""
    return max(math.log(now.work / before.work), 0.0) if before.work > 0.0 and now.work > 0.0 else 0.0


def mean_level(levels: list[PaceLevel]) -> PaceLevel:
    """Of several blocks."""
    return PaceLevel(sum(one.log_s for one in levels) / len(levels), sum(one.work for one in levels) / len(levels))


def _end_block(pace: Pace) -> None:
    ordered = sorted(pace.block)
    work = pace.block_work / (BLOCK // WORK_STRIDE)
    pace.window.append(PaceLevel(math.log(max(ordered[BLOCK // 2], SECONDS_MIN)), work))
    pace.epoch_s += sum(ordered)
    pace.epoch_work += work
    pace.epoch_blocks += 1
    pace.block, pace.block_work = [], 0.0
    if len(pace.window) <= WINDOW:
        return
    del pace.window[0]
    pace.waiting.append(mean_level(pace.window))
    if len(pace.waiting) > DELAY:
        _learn(pace, pace.waiting.pop(0))


def _learn(pace: Pace, level: PaceLevel) -> None:
    if pace.learnt % PERIOD == 0:
        pace.spans.append(Span(level, level.log_s))
        del pace.spans[:-2]
    pace.learnt += 1
    span = pace.spans[-1]
    if level.log_s > span.slowest.log_s:
        span.slowest = level
    span.fastest_log_s = min(span.fastest_log_s, level.log_s)


def _end_epoch(pace: Pace, epoch: int) -> None:
    if pace.epoch_blocks >= EPOCH_BLOCKS_MIN:
        seconds = pace.epoch_s / (pace.epoch_blocks * BLOCK)
        mean = PaceLevel(math.log(max(seconds, SECONDS_MIN)), pace.epoch_work / pace.epoch_blocks)
        pace.last_epoch = mean
        slow = pace.best_epoch is not None and _slower(mean, pace.best_epoch)
        pace.slow_epochs = pace.slow_epochs + 1 if slow else 0
        if pace.best_epoch is None or mean.log_s < pace.best_epoch.log_s:
            pace.best_epoch = mean
    pace.epoch, pace.epoch_s, pace.epoch_work, pace.epoch_blocks = epoch, 0.0, 0.0, 0


def _slower(now: PaceLevel, best: PaceLevel) -> bool:
    return now.log_s - best.log_s - explained(now, best) > SLOW_EPOCH
