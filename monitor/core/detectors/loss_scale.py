"""The loss scale keeps falling."""

from __future__ import annotations

from pydantic import Field, model_validator

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.format import batches, plural
from monitor.core.model import Family, Finding, Severity
from monitor.core.model.section import never_reached
from monitor.core.state.occasions import SCALE
from monitor.core.state.view import RunView

STORM_WINDOWS = 5
SCALE_MIN = 1.0  # below it gradients are made smaller than they are: fp16 has nothing left to give


class LossScaleConfig(DetectorConfig):
    """The loss scale keeps falling, or the scaler keeps overflowing; single overflows are normal."""

    falls: int = Field(
        3,
        ge=2,
        le=64,
        description="This many falls of the loss scale within window_batches make a finding. In GLM-130B the scale "
        "fell 30 batches before the loss exploded.",
    )
    window_batches: int = Field(
        20,
        ge=2,
        description="Falls are counted over this many batches. A healthy scaler falls about once in 2,000 steps, so "
        "three falls in 20 batches are not chance.",
    )
    storm: int = Field(
        10,
        ge=2,
        le=64,
        description="This many overflows within five windows make a finding. It catches a scaler that overflows all "
        "the time but seldom lowers its scale.",
    )
    warmup_batches: int = Field(
        200,
        ge=0,
        description="In this many first batches only a loss scale below 1 is reported. The scaler begins too high and "
        "searches for its scale by falling.",
    )

    @model_validator(mode="after")
    def _can_happen(self) -> LossScaleConfig:
        if self.falls > self.window_batches:
            raise never_reached("falls", self.falls, self.window_batches)
        return self


@register("loss_scale", LossScaleConfig, Family.LOSS_SCALE, Moment.BATCH, at_most=Severity.WARNING, needs=SCALE)
def loss_scale(run: RunView, config: LossScaleConfig) -> Finding | None:
    """`falls` within the window, a scale below 1, or a storm of overflows. Dated to the first of them.

    In the warm-up, in which the scale is still looked for, only one below 1 is reported. Single overflows never are:
    they are how a scaler works.
    """
    scaler, now = run.learned.scaler, run.at.count
    if scaler.last is None or not (scaler.falls or scaler.overflows):
        return None
    falls = _after(scaler.falls, max(now - config.window_batches, config.warmup_batches))
    storm = _after(scaler.overflows, max(now - STORM_WINDOWS * config.window_batches, config.warmup_batches))
    lately = _after(scaler.falls, now - config.window_batches)
    low = scaler.last < SCALE_MIN and bool(lately)
    if len(falls) < config.falls and len(storm) < config.storm and not low:
        return None
    first = min([*(lately if low else falls), *storm])
    return run.finding(
        Severity.WARNING,
        since=run.before(now - first),
        signal="loss_scale",
        value=scaler.last,
        limit=float(config.falls),
        summary=f"loss scale {scaler.last:g}: {plural(len(lately), 'fall')} in {batches(config.window_batches)} and "
        f"{plural(len(storm), 'overflow')} in {STORM_WINDOWS * config.window_batches}",
    )


def _after(counts: list[int], oldest: int) -> list[int]:
    return [count for count in counts if count > oldest]
