"""Non-finite batches that keep coming, further apart than a burst."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt, model_validator

from monitor.core.detectors import DetectorConfig, register
from monitor.core.format import count, percent, plural
from monitor.core.model import Family, Finding, Severity
from monitor.core.model.section import InPreset, Preset, never_reached
from monitor.core.state.view import RunView


class NonfiniteRateConfig(DetectorConfig):
    """Batches with NaN or infinity keep coming, further apart than in a burst."""

    rate: Annotated[
        float,
        InPreset(Preset.STRICT, value=0.002, reason="This is 0.2 %: the third non-finite batch in 1,000 is enough."),
    ] = Field(
        0.005,
        gt=0,
        le=1,
        description="An incident is opened when this share of the batches in the window, from 0 to 1, is non-finite. "
        "At 0.5 % an epoch of 41,163 batches loses 206 of them.",
    )
    window_batches: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="The rate is taken over this many batches. A thousand batches are enough to measure half a per "
        "cent.",
    )
    count_min: Annotated[
        PositiveInt,
        InPreset(Preset.STRICT, value=3, reason="Three batches are what 0.2 % of the window comes to, rounded up."),
    ] = Field(
        5,
        description="The window must hold at least this many non-finite batches. A rate that comes from fewer than "
        "five is too uncertain.",
    )

    def nonfinite_history_batches(self) -> int:
        return self.window_batches

    @model_validator(mode="after")
    def _can_happen(self) -> NonfiniteRateConfig:
        if self.count_min > self.window_batches:
            raise never_reached("count_min", self.count_min, self.window_batches)
        return self


@register("nonfinite_rate", NonfiniteRateConfig, Family.NONFINITE, at_most=Severity.CRITICAL)
def nonfinite_rate(run: RunView, config: NonfiniteRateConfig) -> Finding | None:
    """At least `rate` of the last `window_batches`, and `count_min` of them, were not finite.

    Early on the window is the batches so far.
    """
    bad = run.nonfinite_within(config.window_batches)
    seen = min(config.window_batches, run.at.count)
    if bad < config.count_min or bad < config.rate * seen:
        return None
    return run.finding(
        Severity.CRITICAL,
        since=run.first_nonfinite_within(config.window_batches),
        signal="nonfinite_batches",
        value=bad / seen,
        limit=config.rate,
        summary=(
            f"{plural(bad, 'non-finite batch')} among the last {count(seen)}: {percent(bad / seen)} "
            f"(the rule: {percent(config.rate)}, at least {config.count_min})"
        ),
    )
