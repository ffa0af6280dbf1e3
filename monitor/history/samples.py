"""Batches folded into roll-ups of 16, before they are written. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from monitor.history.schema import LEVELS, SIGNALS
from monitor.history.transaction_rows import Sample

Key = tuple[str, int, int, int, int, str]  # run, rank, level, generation, bucket, signal
RollupRow = tuple[str, int, int, int, int, str, float, float, int, float, float, float]


class Rollup(msgspec.Struct):
    """The finite values of one signal within one bucket of batches."""

    from_s: float
    to_s: float
    n: int = 0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, value: float, at_s: float) -> None:
        self.to_s = at_s
        self.n += 1
        self.total += value
        if value < self.low:  # noqa: PLR1730 - for every value of every batch: a call costs more than it does
            self.low = value
        if value > self.high:  # noqa: PLR1730
            self.high = value

    def merge(self, later: Rollup) -> None:
        self.to_s = max(self.to_s, later.to_s)
        self.n += later.n
        self.total += later.total
        self.low = min(self.low, later.low)
        self.high = max(self.high, later.high)


def roll_up(samples: Iterable[Sample]) -> list[RollupRow]:
    """One row of the finest level for each bucket that they touch, to be merged into what is stored. Finite values."""
    finest = LEVELS[0]
    found: dict[Key, Rollup] = {}
    for sample in samples:
        run, rank, generation, bucket = sample.run, sample.rank, sample.generation, (sample.count - 1) // finest
        for signal, value in values(sample):
            key = (run, rank, finest, generation, bucket, signal)
            rollup = found.get(key) or found.setdefault(key, Rollup(sample.at_s, sample.at_s))
            rollup.add(value, sample.at_s)
    return [(*key, r.from_s, r.to_s, r.n, r.total, r.low, r.high) for key, r in found.items()]


def values(sample: Sample) -> Iterable[tuple[str, float]]:
    """The finite values of a batch by signal: SIGNALS, "part/<i>" of the loss, "rate/<i>" of the further groups."""
    for signal in SIGNALS:
        value = float(sample.nonfinite != 0) if signal == "nonfinite" else getattr(sample, signal)
        if value is not None and math.isfinite(value):
            yield signal, float(value)
    yield from ((f"part/{i}", part) for i, part in enumerate(sample.parts) if math.isfinite(part))
    yield from ((f"rate/{i}", rate) for i, rate in enumerate(sample.more_rates, 1) if math.isfinite(rate))
