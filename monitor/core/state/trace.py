"""The batches around an onset, and what stood in the batches where memory rose. Bounded, O(1) per batch. Pure.

Statistics show that something is off; what was different shows only in the batches themselves. So the last ones are
kept as they came, a few from further back, and every rise of reserved memory with its batch, which survives for as
long as the generation does: at the end of a night the batch that drove memory is thousands of batches ago.
"""

from __future__ import annotations

import msgspec

from monitor.core.model import Position
from trainer_hooks.wire.messages import BatchEnded

TRACED_RANKS = 4  # the first ones: a snapshot stays small, and gradients are the same on all of them
BATCHES = 512  # kept as they came; with the far ones 0.13 MB of a snapshot for each rank
HELD_BATCHES = 192  # up to the first bad batch of a streak: a rate is found up to a thousand batches after its onset
BAD_BATCHES = 32  # the first of a streak
STREAK_GAP_BATCHES = 1000  # as long without a bad batch ends a streak
FAR_STRIDE = 64  # every so many batches one is kept for the long view
FAR_BATCHES = 128  # 8,192 batches back
RISES = 48  # of reserved memory; the smallest gives way
RISE_SHARE = 1.005  # a new high by less than this is the allocator's rounding


class Shape(msgspec.Struct, frozen=True):
    """What makes one batch larger than another. None: not known."""

    instances_max: int | None = None  # the most of any one image
    image_size: int | None = None
    sequence_length: int | None = None

    def larger(self, other: Shape) -> Shape:
        """The larger of each."""
        return Shape(
            _most(self.instances_max, other.instances_max),
            _most(self.image_size, other.image_size),
            _most(self.sequence_length, other.sequence_length),
        )


class MemoryRise(msgspec.Struct, frozen=True):
    """Reserved memory reached a new high in one batch. Bytes; None: not known."""

    at: Position
    phase: str  # of the trainer when the batch was recorded
    before: int  # the high until then
    after: int
    allocated: int | None
    instances: int | None
    batch_size: int | None
    shape: Shape  # the larger of this batch's and that of the one before: memory is read late
    shape_before: Shape  # the largest of every batch before those


class Trace(msgspec.Struct):
    """The last batches of one rank in one generation."""

    recent: list[BatchEnded] = []
    far: list[BatchEnded] = []
    held: list[BatchEnded] = []  # before the first bad batch of the present or last streak
    bad: list[BatchEnded] = []  # the first ones of it
    bad_at: int = 0  # Counts.batches of the last one
    rises: list[MemoryRise] = []
    reserved: int | None = None  # the high
    largest: Shape = Shape()  # of every batch before the last


def take_trace(trace: Trace, batch: BatchEnded, position: Position, phase: str) -> None:
    """Keep one batch, and the rise of memory in it."""
    recent = trace.recent
    last = recent[-1] if recent else batch
    if batch.memory_reserved is not None and (trace.reserved is None or batch.memory_reserved > trace.reserved):
        _take_rise(trace, batch, last, position, phase)
    if _exceeds(last, trace.largest):
        trace.largest = trace.largest.larger(_shape(last))
    if batch.nonfinite:
        _take_bad(trace, batch)
    recent.append(batch)
    if len(recent) > BATCHES:
        del recent[0]
    if position.count % FAR_STRIDE == 0:
        trace.far.append(batch)
        del trace.far[:-FAR_BATCHES]


def _take_bad(trace: Trace, batch: BatchEnded) -> None:
    now = batch.counts.batches
    if not trace.bad or now - trace.bad_at > STREAK_GAP_BATCHES:
        trace.held, trace.bad = trace.recent[-HELD_BATCHES:], []
    trace.bad_at = now
    if len(trace.bad) < BAD_BATCHES:
        trace.bad.append(batch)


def _take_rise(trace: Trace, batch: BatchEnded, last: BatchEnded, position: Position, phase: str) -> None:
    high, reserved = trace.reserved, batch.memory_reserved
    if high is None or reserved is None:
        trace.reserved = reserved  # the first reading is a level, not a rise
    elif reserved > high * RISE_SHARE:
        trace.reserved = reserved
        rise = MemoryRise(
            position, phase, high, reserved, batch.memory_allocated, batch.instances, batch.batch_size,
            _shape(batch).larger(_shape(last)), trace.largest,
        )  # fmt: skip
        trace.rises.append(rise)
        if len(trace.rises) > RISES:
            trace.rises.remove(min(trace.rises, key=lambda r: r.after - r.before))


def _shape(batch: BatchEnded) -> Shape:
    return Shape(batch.instances_max, batch.image_size, batch.sequence_length)


def _exceeds(batch: BatchEnded, largest: Shape) -> bool:
    """True where any of it is larger: rare, and asked at every batch."""
    return (
        (batch.instances_max or 0) > (largest.instances_max or 0)
        or (batch.image_size or 0) > (largest.image_size or 0)
        or (batch.sequence_length or 0) > (largest.sequence_length or 0)
    )


def _most(a: int | None, b: int | None) -> int | None:
    if a is None or b is None:
        return a if b is None else b
    return max(a, b)
