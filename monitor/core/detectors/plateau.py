"""The loss has not moved since the start."""

from __future__ import annotations

import math

from monitor.core.detectors import Moment, register
from monitor.core.model import Finding, Severity
from monitor.core.policy.settings import Plateau
from monitor.core.state.view import RunView

STRIDE = 64  # batches between two looks


@register("plateau", Moment.BATCH)
def plateau(run: RunView, config: Plateau) -> Finding | None:
    """After `window_batches` the long mean of the loss is where it started. For people only: it may be as it should.

    Blind to a training that learnt something and then stopped: late in a training that is how it ends.
    """
    loss = run.signal("loss")
    if loss is None or loss.seen < config.window_batches or loss.seen % STRIDE or loss.signed:
        return None
    if loss.start - loss.best > math.log(config.ratio):
        return None
    best = loss.unscaled(loss.best)
    return run.finding(
        "plateau",
        "loss",
        Severity.INFO,
        since=run.before(loss.seen - loss.best_seen),
        signal="loss",
        value=loss.unscaled(loss.slow),
        limit=best,
        summary=f"not learning: the loss was {best:.4g} at best and started at {loss.unscaled(loss.start):.4g}, "
        f"{loss.seen} batches ago",
    )
