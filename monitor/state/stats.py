"""Running statistics in O(1) per sample, which a non-finite or flagged sample never touches. Pure."""

from __future__ import annotations

import math

from monitor.model import Position
from monitor.state.run import Flags, Learned, Statistic

MEMORY_SAMPLES = 256  # the weight of a sample falls to 1/e after this many
FLAGS_MAX = 4096  # bad batches remembered within a window; more of them say nothing new


def observe(statistic: Statistic, value: float | None) -> None:
    """Take one sample in: exponentially weighted mean and mean absolute deviation, both in the unit of the signal.

    A None or non-finite sample is passed over: it would blind every later reading (one NaN in a rolling window did
    so to
    three of eight shipped detectors, see DESIGN). The first MEMORY_SAMPLES samples weigh alike (a plain mean).
    """
    if value is None or not math.isfinite(value):
        return
    statistic.seen += 1
    weight = 1.0 / min(statistic.seen, MEMORY_SAMPLES)
    statistic.spread += weight * (abs(value - statistic.mean) - statistic.spread) if statistic.seen > 1 else 0.0
    statistic.mean += weight * (value - statistic.mean)
    statistic.last = float(value)


def flag(flags: Flags, position: Position, times: int, window_batches: int) -> None:
    """Remember `times` bad batches at `position`, and forget those that left the window."""
    kept = min(times, FLAGS_MAX)
    flags.counts.extend([position.count] * kept)
    flags.positions.extend([position] * kept)
    oldest = position.count - window_batches
    gone = max(
        next((i for i, count in enumerate(flags.counts) if count > oldest), len(flags.counts)),
        len(flags.counts) - FLAGS_MAX,
    )
    del flags.counts[:gone]
    del flags.positions[:gone]


def within(flags: Flags, now_count: int, window_batches: int) -> int:
    """How many bad batches lie within the last `window_batches`, the present one included."""
    oldest = now_count - window_batches
    return sum(1 for count in flags.counts if count > oldest)


def first_within(flags: Flags, now_count: int, window_batches: int) -> Position:
    """The first bad batch within the window. Raises IndexError where there is none."""
    return flags.positions[len(flags.positions) - within(flags, now_count, window_batches)]


def snapshot_of(learned: Learned) -> Learned:
    """A copy that shares nothing with the original, without its flags: they count the batches of one generation."""
    signals = {name: Statistic(s.seen, s.mean, s.spread, s.last) for name, s in learned.signals.items()}
    return Learned(signals, Flags(), learned.uncured)


def clear(flags: Flags) -> None:
    """Forget every bad batch: what they led to has been done."""
    flags.counts.clear()
    flags.positions.clear()
