"""Non-finite parameters or buffers that were not restored."""

from __future__ import annotations

from monitor.core.detectors import DetectorConfig, register
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.view import RunView
from trainer_hooks.wire.messages import Nonfinite


class PoisonedStateConfig(DetectorConfig):
    """Parameters or buffers are not finite and the guard did not restore them: training on is wasted."""


@register("poisoned_state", PoisonedStateConfig, Family.NONFINITE, at_most=Severity.CRITICAL)
def poisoned_state(run: RunView, config: PoisonedStateConfig) -> Finding | None:
    """This batch left non-finite parameters or buffers behind: what is trained and saved from here on is wasted."""
    if run.cured or not run.nonfinite & (Nonfinite.PARAMETER | Nonfinite.BUFFER):
        return None
    what = "parameters" if run.nonfinite & Nonfinite.PARAMETER else "BatchNorm statistics"
    return run.finding(
        Severity.CRITICAL,
        since=run.first_nonfinite_within(run.at.count),
        signal=what,
        value=float(run.uncured),
        limit=1.0,
        summary=f"the model's {what} are not finite and were not restored",
    )
