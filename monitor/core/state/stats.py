"""Running statistics in O(1) per sample, which a non-finite or flagged sample never touches. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right

import msgspec

from monitor.core.model import Position
from monitor.core.state.allocator import Allocator
from monitor.core.state.learned import Blocks, Learned, Memory, NonfiniteWindow, Scaler
from monitor.core.state.line import take_point
from monitor.core.state.loss_level import gate
from monitor.core.state.pace import Pace
from monitor.core.state.signals import RING, Signal, boundary
from monitor.core.state.updates import Updates

FLAGS_MAX = 4096  # bad batches remembered within a window; more of them say nothing new
NONFINITE_WINDOW_MAX = 100_000  # batches: the longest window that a rule may have
BLOCKS_FIRST = 16  # blocks learnt whatever they say: 1,024 batches
BLOCKS_OVER = 6  # blocks above the highest before they are what it is now
BLOCK_STEP = 0.1  # in log space: a block this far above is not learnt at once
MEMORY_FIRST = 200  # batches in which memory grows to its level
MEMORY_NOISE = 0.02  # the share that the allocator's level moves by without a meaning
MEMORY_OVER = 20  # batches after which a step is the new level
LINE_STRIDE = 8
LINE_POINTS = 250
EVENTS_MAX = 64


def flag(flags: NonfiniteWindow, position: Position, times: int) -> None:
    """Remember `times` bad batches at `position`, and forget those that no rule can ask for any more."""
    kept = min(times, FLAGS_MAX)
    flags.counts.extend([position.count] * kept)
    flags.positions.extend([position] * kept)
    oldest = position.count - NONFINITE_WINDOW_MAX
    gone = max(bisect_right(flags.counts, oldest), len(flags.counts) - FLAGS_MAX)
    del flags.counts[:gone]
    del flags.positions[:gone]


def within(flags: NonfiniteWindow, now_count: int, window_batches: int) -> int:
    """How many bad batches lie within the last `window_batches`, the present one included."""
    return len(flags.counts) - bisect_right(flags.counts, now_count - window_batches)


def in_a_row(counts: list[int], now: int) -> int:
    """How many batches up to `now` were bad, one after another. counts: Counts.batches of each bad one."""
    length = 0
    for place in reversed(counts):
        if place != now - length:
            break
        length += 1
    return length


def first_within(flags: NonfiniteWindow, now_count: int, window_batches: int) -> Position:
    """The first bad batch within the window. Raises IndexError where there is none."""
    return flags.positions[len(flags.positions) - within(flags, now_count, window_batches)]


def snapshot_of(learned: Learned) -> Learned:
    """A copy that shares nothing with the original, as a generation that starts from it needs it.

    What counts the batches of one generation is left out, and every signal expects a step: a resume seldom goes on
    exactly as it was.
    """
    copy = msgspec.msgpack.decode(msgspec.msgpack.encode(learned), type=Learned)
    copy.nonfinite, copy.scaler, copy.times, copy.memory = NonfiniteWindow(), Scaler(), Blocks(), Memory()
    copy.rate, copy.batch_size, copy.size_mismatch_streak = 0.0, None, 0
    copy.pace, copy.allocator, copy.updates = Pace(), Allocator(), Updates()
    copy.rate_step, copy.unexplained = None, False
    copy.loss_blocks.began, copy.loss_blocks.size = None, 0
    copy.bad_norms = []
    if copy.signals:
        gate(copy.loss_level, copy.signals["loss"])
    for signal in copy.signals.values():
        boundary(signal)
        signal.closer = 0
    return copy


def take_block(blocks: Blocks, signal: Signal) -> None:
    """Learn the quarter quantile of the signal's last RING samples, once for each RING of them."""
    if not signal.warm or signal.seen % RING:
        return
    low = signal.quantile(0.25)
    blocks.seen += 1
    if blocks.seen == 1:
        blocks.high = blocks.waiting = low
    elif low > blocks.high + BLOCK_STEP and blocks.seen > BLOCKS_FIRST and blocks.over < BLOCKS_OVER:
        blocks.over += 1
    else:
        blocks.high = max(blocks.high, blocks.waiting if not blocks.over else low)
        blocks.waiting, blocks.over = low, 0


def take_memory(memory: Memory, count: int, reserved: float | None, allocated: float | None) -> None:
    """Learn the level of reserved memory, and every LINE_STRIDE batches a point of the line through the allocated."""
    memory.seen += 1
    if reserved is not None:
        reserved = float(reserved)  # an int in a float's place encodes to other bytes than it decodes to
        if memory.seen <= MEMORY_FIRST or reserved <= memory.high * (1.0 + MEMORY_NOISE):
            memory.high, memory.over = max(memory.high, reserved), 0
        else:
            memory.held = min(memory.held, reserved) if memory.over else reserved
            memory.over += 1
            if memory.over > MEMORY_OVER:
                memory.high, memory.over = memory.held, 0
    value = allocated if allocated is not None else reserved
    if value is not None and math.isfinite(value) and memory.seen % LINE_STRIDE == 0:
        take_point(memory.line, float(count), float(value), LINE_POINTS)


def take_scale(scaler: Scaler, count: int, scale: float | None, overflows: int) -> None:
    """Remember where the loss scale fell and where the scaler overflowed, the last EVENTS_MAX of each."""
    if scale is not None and math.isfinite(scale):
        if scaler.last is not None and scale < scaler.last:
            scaler.falls.append(count)
            del scaler.falls[:-EVENTS_MAX]
        scaler.last = float(scale)
    if overflows > 0:
        scaler.overflows.extend([count] * min(overflows, EVENTS_MAX))
        del scaler.overflows[:-EVENTS_MAX]
