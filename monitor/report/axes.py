"""Where the ticks of an axis lie and what stands beside them. Pure."""

from __future__ import annotations

import math

TICKS = 5
NICE = (1.0, 2.0, 2.5, 5.0, 10.0)
DECADES_FEW = 2  # of a logarithmic axis: below it 2 and 5 of each decade have a tick too


def linear_ticks(low: float, high: float, wanted: int = TICKS) -> list[float]:
    """About `wanted` round numbers between `low` and `high`."""
    if not high > low:
        return [low]
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(nice * power for nice in NICE if nice * power >= rough * 0.999)
    first = math.ceil(low / step)
    return [place * step for place in range(first, first + 3 * wanted) if place * step <= high * (1 + 1e-12) + 1e-300]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between two positive numbers; with their 2 and 5 where the powers are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    stride = max(1, round((last - first) / (TICKS + 1)))
    leads = (1.0, 2.0, 5.0) if last - first <= DECADES_FEW else (1.0,)
    ticks = [lead * 10.0**power for power in range(first, last + 1, stride) for lead in leads]
    return [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]


def number(value: float) -> str:
    """A tick of a value: four digits at most."""
    return f"{value:.4g}" if value else "0"


def batches(value: float) -> str:
    """A tick of batches."""
    return f"{value:,.0f}"
