"""The loss fell to nothing, and the gradient with it."""

from __future__ import annotations

import math

from monitor.core.detectors import Moment, register
from monitor.core.model import Finding, Severity
from monitor.core.policy.settings import Collapse
from monitor.core.state.signals import Signal
from monitor.core.state.view import RunView

NORM_RATIO = 10.0


@register("collapse", Moment.BATCH)
def collapse(run: RunView, config: Collapse) -> Finding | None:
    """Loss `ratio` times and norm ten times below their levels for `batches` batches; without a norm, loss exactly 0.

    Blind to losses that may be negative, and to a fall so slow that the level follows: that is learning.
    """
    loss = run.signal("loss")
    if loss is None or not loss.warm or loss.signed or loss.scaled > loss.level - math.log(config.ratio):
        return None
    if loss.high_of_last(config.batches) > loss.level - math.log(config.ratio):
        return None
    norm = run.signal("grad_norm")
    told = run.batch is not None and run.batch.grad_norm is not None
    if not (_fell(norm, config.batches) if told and norm is not None and norm.warm else loss.last == 0.0):
        return None
    now, level = loss.unscaled(loss.scaled), loss.unscaled(loss.level)
    return run.finding(
        "collapse",
        "loss",
        Severity.WARNING,
        since=run.before(config.batches - 1),
        signal="loss",
        value=now,
        limit=level / config.ratio,
        summary=f"loss {now:.3g} against a level of {level:.4g} for {config.batches} batches, and no gradient left",
    )


def _fell(norm: Signal, batches: int) -> bool:
    return norm.high_of_last(batches) < norm.level - math.log(NORM_RATIO)
