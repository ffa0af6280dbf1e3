"""Batches folded into roll-ups of 16, 256 and 4096, before they are written. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from monitor.history.rows import Sample
from monitor.history.schema import LEVELS, SIGNALS

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
        self.low = min(self.low, value)
        self.high = max(self.high, value)


def roll_up(samples: Iterable[Sample]) -> list[RollupRow]:
    """One row for each bucket that the samples touch, to be merged into what is stored. Finite values only."""
    found: dict[Key, Rollup] = {}
    for sample in samples:
        for signal, value in _values(sample):
            for level in LEVELS:
                key = (sample.run, sample.rank, level, sample.generation, (sample.count - 1) // level, signal)
                rollup = found.get(key) or found.setdefault(key, Rollup(sample.at_s, sample.at_s))
                rollup.add(value, sample.at_s)
    return [(*key, r.from_s, r.to_s, r.n, r.total, r.low, r.high) for key, r in found.items()]


def _values(sample: Sample) -> Iterable[tuple[str, float]]:
    for signal in SIGNALS:
        value = float(sample.nonfinite != 0) if signal == "nonfinite" else getattr(sample, signal)
        if value is not None and math.isfinite(value):
            yield signal, float(value)
