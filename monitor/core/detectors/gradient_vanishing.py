"""The gradient norm fell to nothing."""

from __future__ import annotations

import math

from monitor.core.detectors import NORM, Moment, register
from monitor.core.model import Finding, Severity
from monitor.core.policy.settings import GradientVanishing
from monitor.core.state.view import RunView


@register("gradient_vanishing", Moment.BATCH, needs=NORM)
def gradient_vanishing(run: RunView, config: GradientVanishing) -> Finding | None:
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
        "gradient_vanishing",
        "gradient",
        Severity.WARNING,
        since=run.before(config.batches - 1),
        signal="grad_norm",
        value=now,
        limit=norm.unscaled(norm.level) / config.ratio,
        summary=f"gradient norm {now:.3g} for {config.batches} steps, {config.ratio:g} times below its level or more",
    )
