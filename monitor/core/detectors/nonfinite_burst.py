"""Several non-finite batches close together."""

from __future__ import annotations

from monitor.core.detectors import register
from monitor.core.model import Finding, Severity
from monitor.core.policy.settings import NonfiniteBurst
from monitor.core.state.view import RunView


@register("nonfinite_burst")
def nonfinite_burst(run: RunView, config: NonfiniteBurst) -> Finding | None:
    """At least `count` of the last `window_batches` were not finite.

    Dated to the first of them; blind to rarer ones (see nonfinite_rate).
    """
    bad = run.nonfinite_within(config.window_batches)
    if bad < config.count:
        return None
    return run.finding(
        "nonfinite_burst",
        "nonfinite",
        Severity.CRITICAL,
        since=run.first_nonfinite_within(config.window_batches),
        signal="nonfinite_batches",
        value=float(bad),
        limit=float(config.count),
        summary=f"{bad} non-finite batches among the last {config.window_batches} (the rule: {config.count})",
    )
