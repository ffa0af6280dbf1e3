"""Several non-finite batches close together."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt, model_validator

from monitor.core.detectors import DetectorConfig, register
from monitor.core.format import plural
from monitor.core.model import Family, Finding, Severity
from monitor.core.model.section import InPreset, Preset, never_reached
from monitor.core.state.view import RunView


class NonfiniteBurstConfig(DetectorConfig):
    """Several batches with NaN or infinity close together: something broke and stays broken."""

    count: Annotated[
        PositiveInt,
        InPreset(
            Preset.STRICT,
            value=2,
            reason="The second non-finite batch within the window is enough. A pair by chance then costs a rollback, "
            "which is why this is not the default.",
        ),
    ] = Field(
        3,
        description="This many non-finite batches within window_batches open an incident. One is a bad sample and two "
        "may be chance; the third is a pattern.",
    )
    window_batches: int = Field(
        100,
        ge=1,
        le=100_000,
        description="Non-finite batches are counted over this many batches. Rarer ones than three in 100 are left to "
        "nonfinite_rate.",
    )

    def nonfinite_history_batches(self) -> int:
        return self.window_batches

    @model_validator(mode="after")
    def _can_happen(self) -> NonfiniteBurstConfig:
        if self.count > self.window_batches:
            raise never_reached("count", self.count, self.window_batches)
        return self


@register("nonfinite_burst", NonfiniteBurstConfig, Family.NONFINITE, at_most=Severity.CRITICAL)
def nonfinite_burst(run: RunView, config: NonfiniteBurstConfig) -> Finding | None:
    """At least `count` of the last `window_batches` were not finite.

    Dated to the first of them; blind to rarer ones (see nonfinite_rate).
    """
    bad = run.nonfinite_within(config.window_batches)
    if bad < config.count:
        return None
    return run.finding(
        Severity.CRITICAL,
        since=run.first_nonfinite_within(config.window_batches),
        signal="nonfinite_batches",
        value=float(bad),
        limit=float(config.count),
        summary=f"{plural(bad, 'non-finite batch')} among the last {config.window_batches} (the rule: {config.count})",
    )
