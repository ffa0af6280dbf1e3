"""What would go where, by a policy: a line for each event. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from monitor.core.model import AlertKind, Family, RaiseAlert, Severity
from monitor.core.policy.settings import Policy
from monitor.daemon.alert_flow import alert_of, rules_of, wanted

K, S = AlertKind, Severity
EVENTS: tuple[tuple[str, AlertKind, Severity, str], ...] = (
    ("batches are not finite (NaN)", K.INCIDENT_OPENED, S.CRITICAL, Family.NONFINITE),
    ("the loss goes wrong", K.INCIDENT_OPENED, S.CRITICAL, Family.LOSS),
    ("the training stands still", K.INCIDENT_OPENED, S.CRITICAL, Family.HANG),
    ("settings were changed in place", K.ADJUSTED, S.WARNING, ""),
    ("rolled back", K.ROLLED_BACK, S.WARNING, ""),
    ("the problem is back", K.ESCALATED, S.CRITICAL, ""),
    ("healthy again", K.RESOLVED, S.INFO, ""),
    ("given up", K.GIVEN_UP, S.CRITICAL, ""),
    ("the process died, and is started again", K.INCIDENT_OPENED, S.CRITICAL, Family.CRASH),
    ("the process crashed", K.RUN_FAILED, S.CRITICAL, ""),
    ("a warning without an incident", K.WATCH, S.WARNING, ""),
    ("the supervisor died", K.SUPERVISOR_LOST, S.CRITICAL, ""),
    ("reminder of an open incident", K.REMINDER, S.CRITICAL, ""),
    ("finished", K.FINISHED, S.INFO, ""),
    ("milestone", K.MILESTONE, S.INFO, ""),
    ("daily summary", K.DAILY_SUMMARY, S.INFO, ""),
)


def lines_of(policy: Policy, name: str) -> Iterator[str]:
    """One line an event, then the rules of time."""
    names = policy.receiver_names
    if not names:
        yield f"{name}: has no receivers, so nobody gets an alert. Add one: trainwarden alerts setup"
        return
    width = max(len(text) for text, *_ in EVENTS)
    for text, kind, severity, family in EVENTS:
        yield f"{text:<{width}}  {severity:<8}  {_receivers(policy, names, kind, severity, family)}"
    yield ""
    quiet = policy.quiet_hours
    if quiet.start and quiet.end:
        yield f"quiet hours {quiet.start} to {quiet.end}: only {quiet.let_through} alerts; the others follow together"
    yield f"at most {policy.alerts.rate_limit_per_hour} messages an hour to a receiver; critical ones are counted apart"
    beat = policy.heartbeat
    called = beat.url or beat.url_file or beat.url_env
    yield f"heartbeat: {f'every {beat.every_s:g} s while a training progresses' if called else 'none'}"


def _receivers(policy: Policy, names: tuple[str, ...], kind: AlertKind, severity: Severity, family: str) -> str:
    if (off := _switched_off(policy, kind)) is not None:
        return f"nobody ({off})"
    alert = alert_of(RaiseAlert("a", "RUN", kind, severity, "", "", "", 0.0), None)
    if family:
        alert.labels["family"] = family
    if not wanted(alert, policy.alerts):
        return "nobody (switched off below `alerts`)"
    return ", ".join(rules_of(policy).receivers_of(alert, names)) or "nobody (by routes and severities)"


def _switched_off(policy: Policy, kind: AlertKind) -> str | None:
    """The key that would switch it on, where it is off by default."""
    news = policy.milestones
    off = {
        K.FINISHED: None if policy.alerts.finished else "alerts.finished: false",
        K.REMINDER: None if policy.alerts.repeat_interval_h else "alerts.repeat_interval_h: null",
        K.MILESTONE: None if news.first_epoch or news.every_epochs or news.best else "milestones: none",
        K.DAILY_SUMMARY: None if policy.daily_summary else "daily_summary: null",
    }
    return off.get(kind)
