"""Medians, spreads and rank statistics that a few wild values can't move. Pure; lists of finite numbers in.

Median absolute deviation as in Rousseeuw and Croux (1993); Cliff's delta as in Cliff (1993), where there is no spread
to measure a shift by.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

GAUSSIAN = 1.4826  # times the median absolute deviation is the standard deviation of Gaussian noise
LOG_SPREAD_MIN = 0.01  # 1 %: below it a signal counts as constant
SHARP = 20.0  # spreads that a whole shift of a constant counts as: batch size 16 to 32 is a change without any noise
EFFECT_MAX = 100.0


@dataclass(frozen=True, slots=True)
class RobustLevel:
    """Median and spread of a signal; in log space where every value was above zero."""

    middle: float
    spread: float
    logarithmic: bool

    def spreads(self, value: float) -> float:
        """How many spreads `value` lies above the median; below it is negative. Bounded by EFFECT_MAX."""
        if not math.isfinite(value):
            return EFFECT_MAX
        if self.logarithmic:
            away = math.log(value) - self.middle if value > 0.0 else -EFFECT_MAX
        else:
            away = value - self.middle
        return (
            bounded(away / self.spread) if self.spread > 0.0 else bounded(math.copysign(EFFECT_MAX, away)) * (away != 0)
        )

    @property
    def value(self) -> float:
        """The median in the signal's own unit."""
        return math.exp(self.middle) if self.logarithmic else self.middle


def level(values: Sequence[float], spread_min: float = LOG_SPREAD_MIN) -> RobustLevel:
    """Median and spread of finite values; in log space the spread is `spread_min` at least.

    Raises ValueError where there are none.
    """
    logarithmic = min(values) > 0.0
    taken = [math.log(v) for v in values] if logarithmic else list(values)
    centre = median(taken)
    spread = GAUSSIAN * median([abs(v - centre) for v in taken])
    return RobustLevel(centre, max(spread, spread_min) if logarithmic else spread, logarithmic)


def median(values: Sequence[float]) -> float:
    """Raises ValueError where there are none."""
    if not values:
        raise ValueError("the median of no values was asked for")
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2.0


def shift(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """The shift from `before` to `after` in spreads, and Cliff's delta. Zeros where one of them is empty."""
    if not before or not after or min(before) == max(before) == min(after) == max(after):
        return 0.0, 0.0
    delta = cliff(before, after)
    known = level(before)
    if known.spread == 0.0 or min(before) == max(before):
        return delta * SHARP, delta
    return known.spreads(median(after)), delta


def cliff(before: Sequence[float], after: Sequence[float]) -> float:
    """Cliff's delta: the share of pairs that are higher after, less the share that are lower; -1 to 1."""
    ordered = sorted(before)
    above = sum(bisect_left(ordered, v) for v in after)
    below = sum(len(ordered) - bisect_right(ordered, v) for v in after)
    return (above - below) / (len(before) * len(after))


def bounded(effect: float) -> float:
    """Within plus and minus EFFECT_MAX: what is past it is only more of the same."""
    return max(-EFFECT_MAX, min(EFFECT_MAX, effect))
