"""The loss against the rows just before it: what is normal there, and whether the newest rows may lie above it. Pure.

All values are natural logarithms. Medians cost more than all else that a batch does, so they are taken at every row of
the start and then at every EVERY-th one; in between a row is only compared with them. A detector is asked where that
comparison says so, and takes its own medians then. A loss that may be negative is left out: it has no ratio.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Protocol

from monitor.core.state.learned import LossLevel
from monitor.core.state.occasions import FIRST_LOSSES, LOSS_ABOVE, LOSS_FAR, LOSS_FIRST, LOSS_HIGH
from monitor.core.state.signals import Signal, learn_rounding

RECENT = 8  # newest rows, whose median is compared with the older ones
OLDER = 30
HELD = 3
READY = 16  # rows before a spread is known
EVERY = 32  # rows from one comparison to the next
LEAST_SPREAD = 0.02
SPREAD_ROWS, SHIFT_ROWS = 64, 256  # of the slow means
MAD_TO_SPREAD = 1.4826  # for normally distributed values
FIRST_ROWS = 64  # compared at each
KNOWN_SHIFTS = 16  # rows compared before the usual shift is known
NEW_PEAK = 2.0  # a jump must be this many times the largest before
PEAK_ROWS = 2000  # after which that one is forgotten to 1/e
PEAK_STEP = 1.0
FAR = math.log(3.0)
JUMP_SPREADS = 8.0
HIGH, HIGH_SPREADS = math.log(1.1), 2.2  # a row that is higher may be the beginning of something
LATEST = (1 << RECENT) - 1
ABOVE_ROWS = 3  # of the last RECENT rows
GATE_ROWS = 64  # after a rise of the rate a loss stands higher for a reason
GATED = math.log(3.0)  # only a rise by more counts then
ZERO = math.log(1e-11)  # a loss of 0 stands at the logarithm of 1e-12, and no ratio to it means anything


def follow_level(level: LossLevel, loss: Signal) -> None:
    """A loss has been learned. Not asked about one that lies below the edge while nothing goes on."""
    seen, middle = loss.seen, level.middle
    if loss.signed:
        level.edge, level.busy, level.occasions = math.inf, False, 0
        return
    level.jump = 0.0
    level.high = (level.high << 1 | (loss.scaled > level.edge)) & LATEST
    if middle is not None and loss.scaled > level.edge:
        _follow_peak(level, loss.scaled - middle)
    found = _occasions(level, loss)
    if seen < FIRST_ROWS or not seen % EVERY:
        _compare(level, loss, 1 if seen < FIRST_ROWS else EVERY)
    level.occasions, level.busy = found, bool(level.high or found) or seen < FIRST_ROWS


def gate(level: LossLevel, loss: Signal) -> None:
    """The loss may stand higher for a known reason, for a while; its lowest level before compares with nothing."""
    if loss.seen:
        level.gated_until, level.lowest = loss.seen + GATE_ROWS, None


def held(level: LossLevel, loss: Signal) -> tuple[float, float, float]:
    """The lowest of the last three rows above the median of those before, its noise, and that median."""
    rows = loss.newest(RECENT + OLDER)
    if len(rows) < READY:
        return 0.0, math.inf, 0.0
    middle = median(rows[:-HELD])
    spread = max(level.spread, _usual_shift(level) / 0.6, loss.rounded(middle))
    return min(rows[-HELD:]) - middle, spread, middle


def shift(level: LossLevel, loss: Signal) -> tuple[float, float, float]:
    """The median of the last eight rows above that of those before, its noise, and the latter."""
    if level.compared < KNOWN_SHIFTS:
        return 0.0, math.inf, 0.0
    rows = loss.newest(RECENT + OLDER)
    middle = median(rows[:-RECENT])
    spread = max(level.spread, _usual_shift(level) / 0.8, loss.rounded(middle))
    return median(rows[-RECENT:]) - middle, spread, middle


def median(values: list[float]) -> float:
    """The middle value, or the mean of the two in the middle."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _usual_shift(level: LossLevel) -> float:
    return max(level.slow_shift, LEAST_SPREAD) if level.compared >= KNOWN_SHIFTS else 0.0


def _compare(level: LossLevel, loss: Signal, rows_since: int) -> None:
    rows = loss.newest(RECENT + OLDER)
    if len(rows) < READY:
        level.middle = median(rows)
        level.edge = level.middle + FAR
        return
    learn_rounding(loss, RECENT + OLDER)
    older = sorted(rows[:-RECENT])
    half = len(older) // 2
    middle = older[half] if len(older) % 2 else (older[half - 1] + older[half]) / 2
    spread = MAD_TO_SPREAD * _deviation(older, middle)
    level.slow_spread = _towards(level.slow_spread or spread, spread, SPREAD_ROWS / rows_since)
    level.spread = max(spread, level.slow_spread, LEAST_SPREAD, loss.rounded(middle))
    size = abs(median(rows[-RECENT:]) - middle)
    level.compared = min(level.compared + rows_since, SHIFT_ROWS)
    if level.compared <= rows_since:
        level.slow_shift = size
    else:
        level.slow_shift = _towards(level.slow_shift, size, level.compared / rows_since)
    level.middle, level.edge = middle, middle + max(HIGH, HIGH_SPREADS * level.spread)
    level.peak *= 1.0 - rows_since / PEAK_ROWS
    level.lowest = middle if level.lowest is None else min(level.lowest, middle)


def _deviation(ordered: list[float], middle: float) -> float:
    """The median of the distances from the middle: the two halves are in order already, so it is found by a merge."""
    at = bisect_left(ordered, middle)
    return median([middle - value for value in ordered[:at]] + [value - middle for value in ordered[at:]])


def _occasions(level: LossLevel, loss: Signal) -> int:
    found = LOSS_ABOVE if level.high.bit_count() >= ABOVE_ROWS else 0
    if level.jump:
        found |= LOSS_HIGH
    middle, lowest = level.middle, level.lowest
    if middle is not None and loss.scaled > middle + FAR:
        found |= LOSS_FAR
    if loss.seen <= FIRST_LOSSES or (middle is not None and lowest is not None and middle > lowest + FAR):
        found |= LOSS_FIRST
    return found


def _follow_peak(level: LossLevel, above: float) -> None:
    if level.compared and above > level.peak:
        if above > max(FAR, JUMP_SPREADS * level.spread, NEW_PEAK * level.peak):
            level.jump = above
        level.peak = min(above, NEW_PEAK * level.peak + PEAK_STEP)


def _towards(mean: float, value: float, rows: float) -> float:
    """The slow mean after `value`, which counts for at most three times the mean: an outlier moves it little."""
    return mean + (min(value, 3 * max(mean, LEAST_SPREAD)) - mean) / rows


class Limits(Protocol):
    """From how far above its level a loss counts as away from it: less proof is asked of a large ratio."""

    @property
    def ratio(self) -> float: ...
    @property
    def spreads(self) -> float: ...  # standard deviations, in log space
    @property
    def ratio_large(self) -> float: ...
    @property
    def spreads_large(self) -> float: ...


def is_far(level: LossLevel, loss: Signal, above: float, spread: float, limits: Limits) -> bool:
    """True where a loss that lies `above` its level (scaled) is away from it; after a declared change only by far."""
    large = above > math.log(limits.ratio_large) and above >= limits.spreads_large * spread
    if not large and (above <= math.log(limits.ratio) or above < limits.spreads * spread):
        return False
    return loss.seen >= level.gated_until or above > GATED
