"""The loss against the rows just before it: how far the last row, the last three and the last eight lie above them.

All values are natural logarithms. The state is of fixed size. Pure.
"""

from __future__ import annotations

import math

import msgspec

RECENT = 8  # newest rows, whose median is compared with the older ones
OLDER = 30
HELD = 3
READY = 16  # rows before anything can be said
LEAST_SPREAD = 0.02
SPREAD_ROWS, SHIFT_ROWS = 64, 256  # of the slow means
MAD_TO_SPREAD = 1.4826  # for normally distributed values
TINY = 1e-12


class LossLevel(msgspec.Struct):
    """The last rows of the loss and their noise; `held`, `shift` and `jump` are those of the newest row."""

    seen: int = 0
    rows: list[float] = []  # oldest first, at most RECENT + OLDER
    slow_spread: float = 0.0
    slow_shift: float = 0.0
    spread: float = LEAST_SPREAD
    held: float = 0.0  # lowest of the last HELD rows above the median of those before
    shift: float = 0.0  # median of the last RECENT rows above the median of the OLDER ones
    jump: float = 0.0  # the newest row above the median of those before


def observe_level(level: LossLevel, loss: float | None) -> None:
    """Take one row in. A loss that is not a finite number above or at zero is left out."""
    if loss is None or not math.isfinite(loss) or loss < 0:
        return
    level.seen += 1
    level.rows.append(math.log(max(loss, TINY)))
    del level.rows[: -(RECENT + OLDER)]
    if len(level.rows) >= READY:
        _compare(level)


def _compare(level: LossLevel) -> None:
    rows = level.rows
    older = rows[:-RECENT]
    middle = _median(older)
    spread = MAD_TO_SPREAD * _median([abs(row - middle) for row in older])
    level.slow_spread = _towards(level.slow_spread or spread, spread, SPREAD_ROWS)
    level.spread = max(spread, level.slow_spread, LEAST_SPREAD)
    level.shift = _median(rows[-RECENT:]) - middle
    level.held = min(rows[-HELD:]) - _median(rows[:-HELD])
    level.jump = rows[-1] - _median(rows[:-1])
    weight = min(level.seen - READY + 1, SHIFT_ROWS)
    size = abs(level.shift)
    level.slow_shift = _towards(level.slow_shift, size, weight) if weight > 1 else size


def _towards(mean: float, value: float, rows: int) -> float:
    """The slow mean after `value`, which counts for at most three times the mean: an outlier moves it little."""
    return mean + (min(value, 3 * max(mean, LEAST_SPREAD)) - mean) / rows


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
