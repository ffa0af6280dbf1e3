"""Which tensor of a bad batch is not finite."""

from __future__ import annotations

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.model import Family, Finding, Position, Severity
from monitor.core.state.view import RunView
from trainer_hooks.wire.messages import NonfiniteSeen


class NonfiniteLayerConfig(DetectorConfig):
    """Names the first tensor that is not finite: it shows where to look."""


@register("nonfinite_layer", NonfiniteLayerConfig, Family.NONFINITE, Moment.EVENT, at_most=Severity.INFO)
def nonfinite_layer(run: RunView, config: NonfiniteLayerConfig) -> Finding | None:
    """Names the first tensor found non-finite there. Silent where the hooks looked at none."""
    seen = run.event
    if not isinstance(seen, NonfiniteSeen) or not seen.first_bad:
        return None
    cured = ", and was restored" if seen.cured else ""
    at = Position(run.at.generation, seen.epoch, seen.batch, run.at.count)  # its batch may not have arrived yet
    return run.finding(
        Severity.INFO, at=at, since=at, signal=seen.first_bad,
        value=float(seen.nonfinite), limit=0.0,
        summary=f"the first non-finite tensor is {seen.first_bad}{cured}",
    )  # fmt: skip
