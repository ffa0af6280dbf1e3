"""Non-finite batches that keep coming, further apart than a burst."""

from __future__ import annotations

from monitor.core.detectors import register
from monitor.core.model import Finding, Severity
from monitor.core.policy.settings import NonfiniteRate
from monitor.core.state.view import RunView


@register("nonfinite_rate")
def nonfinite_rate(run: RunView, config: NonfiniteRate) -> Finding | None:
    """At least `rate` of the last `window_batches`, and `count_min` of them, were not finite.

    Early on the window is the batches so far.
    """
    bad = run.nonfinite_within(config.window_batches)
    seen = min(config.window_batches, run.at.count)
    if bad < config.count_min or bad < config.rate * seen:
        return None
    return run.finding(
        "nonfinite_rate",
        "nonfinite",
        Severity.CRITICAL,
        since=run.first_nonfinite_within(config.window_batches),
        signal="nonfinite_batches",
        value=bad / seen,
        limit=config.rate,
        summary=(
            f"{bad} non-finite batches among the last {seen}: {bad / seen:.2%} "
            f"(the rule: {config.rate:.2%}, at least {config.count_min})"
        ),
    )
