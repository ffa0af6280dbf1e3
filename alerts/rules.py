"""What people asked for about alerts: silences, quiet hours, limits, routes. Values and questions about them; pure."""

from __future__ import annotations

import msgspec

from alerts.alert import Alert
from alerts.matching import matchable, matches

SEVERITIES = ("info", "warning", "critical")
DAY_S = 86_400.0


def at_least(severity: str, least: str) -> bool:
    """True where `severity` is `least` or worse; a word that is not known counts as the worst."""
    return severity not in SEVERITIES or SEVERITIES.index(severity) >= SEVERITIES.index(least)


class Silence(msgspec.Struct, frozen=True):
    """No alert that matches is sent within this time."""

    id: str
    match: tuple[str, ...]  # see alerts.matching
    from_s: float  # Unix time
    until_s: float

    def covers(self, alert: Alert, at_s: float) -> bool:
        return self.from_s <= at_s < self.until_s and matches(self.match, matchable(alert))


class QuietHours(msgspec.Struct, frozen=True):
    """Seconds since local midnight; `end_s` may lie on the next day. Equal: there are none."""

    start_s: float = 0.0
    end_s: float = 0.0
    let_through: str = "critical"

    def left_s(self, alert: Alert, at_s: float, utc_offset_s: float) -> float:
        """For how long yet the alert has to wait at `at_s` (Unix time); 0: it need not."""
        if at_least(alert.severity, self.let_through) or self.start_s == self.end_s:
            return 0.0
        since_start_s = (at_s + utc_offset_s - self.start_s) % DAY_S
        return max(0.0, (self.end_s - self.start_s) % DAY_S - since_start_s)


class Route(msgspec.Struct, frozen=True):
    """Alerts that match go to these receivers."""

    match: tuple[str, ...]
    receivers: tuple[str, ...]


class Rules(msgspec.Struct, frozen=True):
    """How the alerts of one run are sent."""

    quiet: QuietHours = QuietHours()
    per_hour: int = 30  # messages to one receiver; critical ones are counted apart
    routes: tuple[Route, ...] = ()
    least: dict[str, str] = {}  # by receiver: the least severity that it gets

    def receivers_of(self, alert: Alert, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those of `names` that get the alert. One that no route matches goes to all of them: none is lost."""
        labels = matchable(alert)
        chosen = [route.receivers for route in self.routes if matches(route.match, labels)]
        wanted = {name for receivers in chosen for name in receivers} if chosen else set(names)
        return tuple(n for n in names if n in wanted and at_least(alert.severity, self.least.get(n, "info")))
