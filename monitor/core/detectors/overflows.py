"""The loss scaler overflows at every step."""

from __future__ import annotations

from pydantic import Field

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.occasions import SCALE
from monitor.core.state.stats import in_a_row
from monitor.core.state.view import RunView


class OverflowsConfig(DetectorConfig):
    """The loss scaler overflows many times in a row, and no step is taken any more."""

    count: int = Field(
        16,
        ge=4,
        le=64,
        description="This many overflows in a row open an incident. The scale begins at 65536, which is 2 to the "
        "16th, so sixteen halvings without a good step leave nothing of it.",
    )


@register("overflows", OverflowsConfig, Family.LOSS_SCALE, Moment.BATCH, at_most=Severity.CRITICAL, needs=SCALE)
def overflows(run: RunView, config: OverflowsConfig) -> Finding | None:
    """`count` overflows, one after another. Silent to the few with which a scaler searches for its scale."""
    row = in_a_row(run.learned.scaler.overflows, run.at.count)
    if row < config.count:
        return None
    return run.finding(
        Severity.CRITICAL,
        since=run.before(row - 1),
        signal="loss_scale",
        value=float(row),
        limit=float(config.count),
        summary=f"the loss scaler overflowed {row} times in a row: no step is taken any more",
    )
