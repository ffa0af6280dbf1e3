"""The loss rises slowly and keeps rising."""

from __future__ import annotations

import math

from monitor.core.detectors import Moment, register
from monitor.core.model import Finding, Severity
from monitor.core.policy.settings import Divergence
from monitor.core.state.view import RunView

SPREADS = 2.0  # the rise of the short mean must be worth this much of the noise, whatever the ratio


@register("divergence", Moment.BATCH)
def divergence(run: RunView, config: Divergence) -> Finding | None:
    """The loss's short mean lies above its best by `ratio`, and either its CUSUM is past `drift` or its long mean too.

    The CUSUM finds a rise within a hundred batches, the long mean one that takes thousands. Blind while a restart of
    the learning rate or another declared change is being learnt.
    """
    loss = run.signal("loss")
    if loss is None or not loss.warm or loss.slack:
        return None
    rise = max(math.log(config.ratio), SPREADS * loss.spread)
    if loss.fast - loss.best < rise or (loss.drift < config.drift and loss.slow - loss.best < rise):
        return None
    began = loss.seen - (loss.drift_from if loss.drift >= config.drift else loss.best_seen)
    now, best = loss.unscaled(loss.fast), loss.unscaled(loss.best)
    return run.finding(
        "divergence",
        "loss",
        Severity.CRITICAL if config.act else Severity.WARNING,
        since=run.before(max(began - 1, 0)),
        signal="loss",
        value=now,
        limit=best * config.ratio,
        summary=f"the loss rises: {now:.4g} on average, up from {best:.4g}, for {began} batches",
    )
