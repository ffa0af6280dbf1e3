"""The loss rises from the first rows on."""

from __future__ import annotations

import math

from pydantic import Field

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.occasions import FIRST_LOSSES, LOSS_FIRST
from monitor.core.state.signals import Signal
from monitor.core.state.view import RunView

FIRST, LAST = 3, 3  # rows
SPREADS = 4.0
ROUNDED = 2.0  # steps of rounding that a rise must also reach beyond, where the loss is printed with few digits
ABOVE_FIRST = 3.0  # below it nothing is asked: see occasions


class LossEarlyRiseConfig(DetectorConfig):
    """The loss only rises, from the first batches of a training on."""

    ratio: float = Field(
        1.5,
        gt=1,
        description="Three losses in a row, all more than this many times as large as every one before, are a warning "
        "among the first 40. A loss that has begun to fall does not do that.",
    )
    ratio_first: float = Field(
        3.4,
        gt=1,
        description="Among the first 40 losses, three in a row that are all more than this many times the largest of "
        "the first three are a warning.",
    )
    ratio_later: float = Field(
        100.0,
        ge=ABOVE_FIRST,
        description="Later on the level of the loss must have risen to more than this many times its lowest, and far "
        "beyond its noise. A small detector that is trained from scratch rises to 40 times and is healthy.",
    )


@register("loss_early_rise", LossEarlyRiseConfig, Family.LOSS, Moment.BATCH, at_most=Severity.WARNING, needs=LOSS_FIRST)
def loss_early_rise(run: RunView, config: LossEarlyRiseConfig) -> Finding | None:
    """A loss that rises from its first values, or by far from its lowest level whenever that was.

    The former is asked in the first generation only, since later ones begin at a trained state, and not of a log with
    one row an epoch. Blind to a loss that may be negative. Many healthy losses rise at first, but not by so much.
    """
    loss = run.signal("loss")
    if loss is None or not run.learned.loss_level.occasions & LOSS_FIRST:
        return None
    found = _at_first(run, loss, config) if loss.seen <= FIRST_LOSSES else _later(run, loss, config)
    if found is None:
        return None
    began, before, now = found
    return run.finding(
        Severity.WARNING,
        since=run.before(began),
        signal="loss",
        value=loss.unscaled(now),
        limit=loss.unscaled(before),
        summary=f"the loss rises: {loss.unscaled(now):.4g} now, {loss.unscaled(before):.4g} before",
    )


def _at_first(run: RunView, loss: Signal, config: LossEarlyRiseConfig) -> tuple[int, float, float] | None:
    if run.at.generation != 1 or run.one_batch_an_epoch or loss.seen < FIRST + LAST:
        return None
    rows = loss.newest(FIRST_LOSSES)
    low, first, highest = min(rows[-LAST:]), max(rows[:FIRST]), max(rows[:-LAST])
    if low > first + math.log(config.ratio_first) + ROUNDED * loss.rounded(first):
        return loss.seen - FIRST, first, low
    far = math.log(config.ratio) + ROUNDED * loss.rounded(highest)
    return (LAST - 1, highest, low) if low > highest + far else None


def _later(run: RunView, loss: Signal, config: LossEarlyRiseConfig) -> tuple[int, float, float] | None:
    level = run.learned.loss_level
    middle, lowest = level.middle, level.lowest
    if middle is None or lowest is None or middle <= 0.0 or loss.scaled <= 0.0:
        return None
    far = max(math.log(config.ratio_later), SPREADS * level.spread, ROUNDED * loss.rounded(lowest))
    return (0, lowest, middle) if middle > lowest + far else None
