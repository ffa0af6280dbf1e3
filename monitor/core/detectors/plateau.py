"""The loss has not moved since the start."""

from __future__ import annotations

import math

from pydantic import Field

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.format import batches
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.occasions import LOSSES_64
from monitor.core.state.view import RunView

STRIDE = 64  # batches between two looks


class PlateauConfig(DetectorConfig):
    """The loss has not moved since the start of the training."""

    window_batches: int = Field(
        10_000,
        ge=1000,
        description="A loss that has not moved is reported after this many batches. Large models may need thousands "
        "of batches of warm-up before they learn.",
    )
    ratio: float = Field(
        1.05,
        gt=1,
        description="The loss has moved once it is this many times better than at its start. Less than 5 % is the "
        "noise of the first batches.",
    )


@register("plateau", PlateauConfig, Family.LOSS, Moment.BATCH, at_most=Severity.INFO, needs=LOSSES_64)
def plateau(run: RunView, config: PlateauConfig) -> Finding | None:
    """After `window_batches` the long mean of the loss is where it started. It only informs: this may be as it should.

    Blind to a training that learnt something and then stopped: late in a training that is how it ends.
    """
    loss = run.signal("loss")
    if loss is None or loss.seen < config.window_batches or loss.seen % STRIDE or loss.signed:
        return None
    if loss.start - loss.best > math.log(config.ratio):
        return None
    best = loss.unscaled(loss.best)
    return run.finding(
        Severity.INFO,
        since=run.before(loss.seen - loss.best_seen),
        signal="loss",
        value=loss.unscaled(loss.slow),
        limit=best,
        summary=f"not learning: the loss was {best:.4g} at best and started at {loss.unscaled(loss.start):.4g}, "
        f"{batches(loss.seen)} ago",
    )
