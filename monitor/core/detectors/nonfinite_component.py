"""One component of the loss is not finite."""

from __future__ import annotations

import math

from monitor.core.detectors import DetectorConfig, register
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.view import RunView


class NonfiniteComponentConfig(DetectorConfig):
    """Names the component of the loss that is not finite where the others are: it shows where to look."""


@register("nonfinite_component", NonfiniteComponentConfig, Family.NONFINITE, at_most=Severity.INFO)
def nonfinite_component(run: RunView, config: NonfiniteComponentConfig) -> Finding | None:
    """Names the components that are not finite where others are: where to look. Silent where all of them are."""
    parts = run.batch.parts if run.batch else ()
    bad = [i for i, part in enumerate(parts) if not math.isfinite(part)]
    if not bad or len(bad) == len(parts):
        return None
    training = run.training.started
    known = training.part_names if training else ()
    names = ", ".join(known[i] if i < len(known) else f"component {i}" for i in bad)
    verb = "is" if len(bad) == 1 else "are"
    return run.finding(
        Severity.INFO,
        since=run.at,
        signal=names,
        value=parts[bad[0]],
        limit=0.0,
        summary=f"of the {len(parts)} components of the loss only {names} {verb} not finite",
    )
