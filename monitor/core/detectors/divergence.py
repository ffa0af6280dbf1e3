"""The loss rises slowly and keeps rising."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, PositiveFloat

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.format import batches
from monitor.core.model import Family, Finding, Severity
from monitor.core.model.section import InPreset, Preset
from monitor.core.state.occasions import LOSS_RISEN, RISEN_SPREADS
from monitor.core.state.view import RunView

NO_LEVEL_LOSSES = 1000  # from scratch or after a restart many healthy losses rise at first, but not for so long
SPREADS = RISEN_SPREADS  # the rise of the short mean must be worth this much of the noise, whatever the ratio


class DivergenceConfig(DetectorConfig):
    """The loss rises slowly and keeps rising."""

    act: Annotated[
        bool,
        InPreset(
            Preset.STRICT,
            value=True,
            reason="A slow rise opens an incident too. It is found late: hundreds of batches are lost by then.",
        ),
    ] = Field(
        False,
        description="With true a slow rise opens an incident; with false it only warns. The default is false because "
        "a schedule or harder data can make a healthy loss rise slowly.",
    )
    drift: PositiveFloat = Field(
        150.0,
        description="The rise counts once batches lie this far above the long mean in sum (CUSUM), in spreads of the "
        "loss. A batch adds its rise less one spread, and at most two, so 75 batches that lie three "
        "spreads above the mean reach 150.",
    )
    ratio: float = Field(
        1.15,
        gt=1,
        description="The mean of the loss must have risen to this many times its best. Below 15 % healthy losses vary "
        "as well.",
    )


@register("divergence", DivergenceConfig, Family.LOSS, Moment.BATCH, at_most=Severity.CRITICAL, needs=LOSS_RISEN)
def divergence(run: RunView, config: DivergenceConfig) -> Finding | None:
    """The loss's short mean lies above its best by `ratio`, and either its CUSUM is past `drift` or its long mean too.

    The CUSUM finds a rise within a hundred batches, the long mean one that takes thousands. Blind while a restart of
    the learning rate or another declared change is being learnt, and while the loss has not fallen or stayed yet, since
    that of a detector from scratch rises at first: then it is compared with where it stayed.
    """
    loss = run.signal("loss")
    if loss is None or not loss.warm or loss.slack:
        return None
    level = run.learned.loss_blocks.best
    if level is None and loss.age < NO_LEVEL_LOSSES:
        return None
    lowest = loss.best if level is None else max(loss.best, level)
    rise = max(math.log(config.ratio), SPREADS * max(loss.spread, loss.rounded(lowest)))
    if loss.fast - lowest < rise or (loss.drift < config.drift and loss.slow - lowest < rise):
        return None
    began = loss.seen - (loss.drift_from if loss.drift >= config.drift else loss.best_seen)
    now, best = loss.unscaled(loss.fast), loss.unscaled(lowest)
    return run.finding(
        Severity.CRITICAL if config.act else Severity.WARNING,
        since=run.before(max(began - 1, 0)),
        signal="loss",
        value=now,
        limit=best * config.ratio,
        summary=f"the loss rises: {now:.4g} on average, up from {best:.4g} within the last {batches(began)}",
    )
