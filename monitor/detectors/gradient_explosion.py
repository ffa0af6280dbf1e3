"""The gradient norm jumps far above its own spread."""

from __future__ import annotations

import math

from monitor.detectors import NORM, Moment, register
from monitor.model import Finding, Severity
from monitor.policy.settings import GradientExplosion
from monitor.state.signals import NEAR
from monitor.state.view import RunView


@register("gradient_explosion", Moment.BATCH, needs=NORM)
def gradient_explosion(run: RunView, config: GradientExplosion) -> Finding | None:
    """A jump is told at once; with the loss jumping too, or still there after `wait_batches`, it is a warning.

    Dated to the first high step. Blind in the warm-up, and on batches without an optimizer step.
    """
    norm = run.signal("grad_norm")
    if norm is None or not norm.recent & 1 or norm.seen < config.warmup_batches:
        return None
    if run.batch is None or run.batch.grad_norm is None or norm.away < math.log(config.ratio):
        return None
    level, now = norm.unscaled(norm.level), norm.unscaled(norm.scaled)
    what = f"gradient norm {now:.4g}, {now / max(level, 1e-12):.3g} times its level"
    if norm.spell >= config.wait_batches and norm.stays:
        if norm.spell % config.wait_batches:
            return None
        severity = Severity.CRITICAL if config.act else Severity.WARNING
        summary = f"{what}: it has not come back in {norm.spell} steps"
    elif not norm.jumped(config.spreads):
        return None
    elif (loss := run.signal("loss")) is not None and loss.recent & NEAR:
        severity, summary = Severity.WARNING, f"{what}, and the loss jumped with it"
    else:
        severity, summary = Severity.INFO, what
    return run.finding(
        "gradient_explosion", "gradient", severity, since=run.before(norm.spell - 1), signal="grad_norm",
        value=now, limit=level * config.ratio, summary=summary,
    )  # fmt: skip
