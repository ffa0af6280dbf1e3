"""The loss scale keeps falling."""

from __future__ import annotations

from monitor.core.detectors import SCALE, Moment, register
from monitor.core.model import Finding, Severity
from monitor.core.policy.settings import LossScale
from monitor.core.state.view import RunView

STORM_WINDOWS = 5
SCALE_MIN = 1.0  # below it gradients are made smaller than they are: fp16 has nothing left to give


@register("loss_scale", Moment.BATCH, needs=SCALE)
def loss_scale(run: RunView, config: LossScale) -> Finding | None:
    """`falls` within the window, a scale below 1, or a storm of overflows. Dated to the first of them.

    Silent in the warm-up, in which the scale is still looked for, and to single overflows, which are how it works.
    """
    scaler, now = run.learned.scaler, run.at.count
    if scaler.last is None or now <= config.warmup_batches or not (scaler.falls or scaler.overflows):
        return None
    falls = _after(scaler.falls, max(now - config.window_batches, config.warmup_batches))
    storm = _after(scaler.overflows, max(now - STORM_WINDOWS * config.window_batches, config.warmup_batches))
    low = scaler.last < SCALE_MIN and bool(falls)
    if len(falls) < config.falls and len(storm) < config.storm and not low:
        return None
    first = min([*falls, *storm])
    return run.finding(
        "loss_scale",
        "loss_scale",
        Severity.WARNING,
        since=run.before(now - first),
        signal="loss_scale",
        value=scaler.last,
        limit=float(config.falls),
        summary=f"loss scale {scaler.last:g}: {len(falls)} falls in {config.window_batches} batches and "
        f"{len(storm)} overflows in {STORM_WINDOWS * config.window_batches}",
    )


def _after(counts: list[int], oldest: int) -> list[int]:
    return [count for count in counts if count > oldest]
