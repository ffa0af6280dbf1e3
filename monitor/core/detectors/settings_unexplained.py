"""A setting changed while training, and nothing explains it."""

from __future__ import annotations

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.format import times
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.rate_steps import loosens
from monitor.core.state.view import RunView
from trainer_hooks.wire.messages import SettingChanged


class SettingsUnexplainedConfig(DetectorConfig):
    """A setting changed during training, and no schedule, warm-up, plan or declared boundary explains it."""


@register("settings_unexplained", SettingsUnexplainedConfig, Family.SETTINGS, Moment.EVENT, at_most=Severity.WARNING)
def settings_unexplained(run: RunView, config: SettingsUnexplainedConfig) -> Finding | None:
    """The trainer reported a change without a reason: neither its schedule, nor its own rules, nor a plan."""
    changed = run.event
    if not isinstance(changed, SettingChanged) or changed.reason:
        return None
    old, new = _number(changed.old), _number(changed.new)
    ratio = f" ({times(new / old)})" if old > 0.0 and new > 0.0 else ""
    closer = ". Loss and gradient norm are watched more closely now" if loosens(changed) else ""
    return run.finding(
        Severity.WARNING,
        since=run.at,
        signal=changed.name,
        value=new,
        limit=old,
        summary=f"{changed.name} changed from {changed.old} to {changed.new}{ratio}, and nothing explains it{closer}",
    )


def _number(text: str) -> float:
    """A setting's value, where it is a number; 0 for a word, which the summary shows."""
    try:
        return float(text)
    except ValueError:
        return 0.0
