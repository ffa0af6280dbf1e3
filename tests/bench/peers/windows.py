"""Rolling windows as the peers have them: plain, over the last values, with whatever was put in."""

from __future__ import annotations

import math
from statistics import median

import numpy as np
from numpy.typing import NDArray

NORMAL_MAD = 0.6745  # MAD of a normal distribution in standard deviations


class Window:
    """The last `size` values. A NaN that is put in stays in until it has passed through."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.seen = 0
        self._ring = np.zeros(size)

    def add(self, value: float) -> None:
        self._ring[self.seen % self.size] = value
        self.seen += 1

    @property
    def full(self) -> bool:
        return self.seen >= self.size

    @property
    def values(self) -> NDArray[np.float64]:
        """In no order once the window is full."""
        return self._ring if self.full else self._ring[: self.seen]

    def in_order(self) -> NDArray[np.float64]:
        """Oldest first."""
        return np.roll(self._ring, -self.seen) if self.full else self.values

    def mean(self) -> float:
        with np.errstate(invalid="ignore", over="ignore"):
            return float(self.values.mean()) if self.seen else math.nan

    def mean_and_sd(self) -> tuple[float, float]:
        """With the sample's standard deviation; NaN where there are fewer than two values or a value is not finite."""
        values = self.values
        if len(values) < 2:
            return math.nan, math.nan
        with np.errstate(invalid="ignore", over="ignore"):
            mean = values.mean()
            rest = values - mean
            return float(mean), math.sqrt(float(rest @ rest) / (len(values) - 1))


def robust_z(values: NDArray[np.float64], value: float) -> float:
    """How many robust standard deviations `value` lies from the median of `values`, without sign."""
    listed: list[float] = values.tolist()
    middle = median(listed)
    spread = median([abs(v - middle) for v in listed])
    return NORMAL_MAD * abs(value - middle) / (spread + 1e-12)
