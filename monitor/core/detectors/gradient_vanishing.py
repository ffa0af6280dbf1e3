"""The gradient norm fell to nothing."""

from __future__ import annotations

import math

from pydantic import Field

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.occasions import LOW_RATIO, NORM, NORM_LOW
from monitor.core.state.view import RunView


class GradientVanishingConfig(DetectorConfig):
    """The gradient norm fell to nothing and stays there: no gradient arrives."""

    ratio: float = Field(
        1000.0,
        gt=1,
        description="The norm must lie this many times below its usual level. A converging model's norm falls too, "
        "but not 1,000 times in so few batches.",
    )
    batches: int = Field(
        20,
        ge=2,
        le=64,
        description="This many batches in a row must all be that low. Twenty exclude a run of easy batches.",
    )


def _needs(config: GradientVanishingConfig) -> int:
    return NORM | NORM_LOW if config.ratio >= LOW_RATIO else NORM


@register(
    "gradient_vanishing", GradientVanishingConfig, Family.GRADIENT, Moment.BATCH, at_most=Severity.WARNING, needs=_needs
)
def gradient_vanishing(run: RunView, config: GradientVanishingConfig) -> Finding | None:
    """Every one of the last `batches` norms was `ratio` times below the level: no gradient arrives.

    Blind to a norm that falls so slowly that its level follows, as it does where a model converges.
    """
    norm = run.signal("grad_norm")
    if norm is None or not norm.warm or norm.scaled > norm.level - math.log(config.ratio):
        return None
    if norm.high_of_last(config.batches) > norm.level - math.log(config.ratio):
        return None
    now = norm.unscaled(norm.scaled)
    return run.finding(
        Severity.WARNING,
        since=run.before(config.batches - 1),
        signal="grad_norm",
        value=now,
        limit=norm.unscaled(norm.level) / config.ratio,
        summary=f"gradient norm {now:.3g} for {config.batches} steps, {config.ratio:g} times below its level or more",
    )
