"""The loss fell to nothing, and the gradient with it."""

from __future__ import annotations

import math

from pydantic import Field

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.occasions import LOSS_LOW, LOW_RATIO
from monitor.core.state.signals import Signal
from monitor.core.state.view import RunView

NORM_RATIO = 10.0
ROUNDED = 0.1  # a step of rounding, by the level: 0.0000 may be what a loss of 0.0003 falls to


class CollapseConfig(DetectorConfig):
    """The loss fell to nothing and the gradient with it: the model learns nothing any more."""

    ratio: float = Field(
        100.0,
        gt=1,
        description="The loss must lie this many times below its usual level, while the gradient norm lies ten times "
        "below its own. Learning lowers a loss too, but not 100 times within a few batches.",
    )
    batches: int = Field(
        20,
        ge=2,
        le=64,
        description="This many batches in a row must all be that low. Twenty exclude a run of easy batches.",
    )


def _needs(config: CollapseConfig) -> int:
    return LOSS_LOW if config.ratio >= LOW_RATIO else 0


@register("collapse", CollapseConfig, Family.LOSS, Moment.BATCH, at_most=Severity.WARNING, needs=_needs)
def collapse(run: RunView, config: CollapseConfig) -> Finding | None:
    """Loss `ratio` times and norm ten times below their levels for `batches` batches; without a norm, loss exactly 0.

    Blind to losses that may be negative, and to a fall so slow that the level follows: that is learning.
    """
    loss = run.signal("loss")
    if loss is None or not loss.warm or loss.signed or loss.scaled > loss.level - math.log(config.ratio):
        return None
    if loss.rounded(loss.level) > ROUNDED:
        return None
    if loss.high_of_last(config.batches) > loss.level - math.log(config.ratio):
        return None
    norm = run.signal("grad_norm")
    with_norm = run.batch is not None and run.batch.grad_norm is not None
    if not (_fell(norm, config.batches) if with_norm and norm is not None and norm.warm else loss.last == 0.0):
        return None
    now, level = loss.unscaled(loss.scaled), loss.unscaled(loss.level)
    return run.finding(
        Severity.WARNING,
        since=run.before(config.batches - 1),
        signal="loss",
        value=now,
        limit=level / config.ratio,
        summary=f"loss {now:.3g} against a level of {level:.4g} for {config.batches} batches, and no gradient left",
    )


def _fell(norm: Signal, batches: int) -> bool:
    return norm.high_of_last(batches) < norm.level - math.log(NORM_RATIO)
