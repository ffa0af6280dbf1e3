"""The loss is larger by orders of magnitude than any before."""

from __future__ import annotations

import math

from pydantic import Field

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.loss_level import FIRST_ROWS, OLDER, RECENT, ZERO, median
from monitor.core.state.occasions import LOSS_FAR
from monitor.core.state.view import RunView


class LossHugeConfig(DetectorConfig):
    """One loss is larger by orders of magnitude than those before: no training does that."""

    ratio: float = Field(
        10_000.0,
        gt=3,
        description="A loss at more than this many times the median of those before is a warning. No noise and no "
        "schedule moves a loss by four orders of magnitude.",
    )
    ratio_first: float = Field(
        1000.0,
        gt=3,
        description="Among the first 64 losses, more than this many times the largest before is a warning. A loss that "
        "has just begun has no level yet.",
    )


@register("loss_huge", LossHugeConfig, Family.LOSS, Moment.BATCH, at_most=Severity.WARNING, needs=LOSS_FAR)
def loss_huge(run: RunView, config: LossHugeConfig) -> Finding | None:
    """A loss above 1 that is out of all proportion, from the second one on.

    Blind to a loss that may be negative. A loss of 0 before is no measure of anything, and is left out.
    """
    loss = run.signal("loss")
    if loss is None or not run.learned.loss_level.occasions & LOSS_FAR or loss.scaled <= 0.0:
        return None
    before = [value for value in loss.newest(RECENT + OLDER)[:-1] if value > ZERO]
    if not before:
        return None
    middle = median(before)
    first = loss.seen <= FIRST_ROWS and loss.scaled > max(before) + math.log(config.ratio_first)
    if not first and loss.scaled <= middle + math.log(config.ratio):
        return None
    now, limit = loss.unscaled(loss.scaled), loss.unscaled(middle)
    return run.finding(
        Severity.WARNING,
        since=run.at,
        signal="loss",
        value=now,
        limit=limit,
        summary=f"loss {now:.4g}; the median before was {limit:.4g}",
    )
