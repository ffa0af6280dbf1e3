"""Posts to an Alertmanager (API v2). Each stage of an incident is one alert of it, so that each makes a notification.

Group by run and incident, with `group_wait: 0s`, and the stages are one thread there. An Alertmanager takes an alert
for over that nobody repeats, and a restarted one knows none: alerts.resend repeats them, and ends them all together.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Annotated

import msgspec

from alerts.alert import Alert
from alerts.http import Http
from alerts.notifiers import RESEND_S, Sent, TimeoutS, about, register
from alerts.posting import JSON, encoded, post, shown
from alerts.secret import Secret

HOLDS_S = 4 * RESEND_S  # three repeats may be lost
TITLE_CHARS, TEXT_CHARS, LABELS, LABEL_CHARS = 500, 8000, 32, 200
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class AlertmanagerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """An Alertmanager of Prometheus; the address is its own, such as http://127.0.0.1:9093."""

    url: Annotated[Secret, about("This is the address of the Alertmanager itself, such as http://127.0.0.1:9093.")]
    token: Annotated[
        Secret | None,
        about("This bearer token is sent along, for a proxy in front of the Alertmanager that asks for one."),
    ] = None
    timeout_s: TimeoutS = 10.0


@register("alertmanager", AlertmanagerConfig, each=True, resend=True)
async def alertmanager(alert: Alert, config: AlertmanagerConfig, http: Http, now_s: float) -> Sent:
    """One try."""
    url = Secret(f"{config.url.reveal().rstrip('/')}/api/v2/alerts")
    headers = JSON | ({"authorization": f"Bearer {config.token.reveal()}"} if config.token else {})
    return await post(http, url, encoded([posted(alert, now_s)]), headers, config.timeout_s, now_s)


def posted(alert: Alert, now_s: float) -> dict[str, object]:
    """The alert as the API takes it: its labels name it, and never change."""
    own = {k: shown(v, LABEL_CHARS) for k, v in list(alert.labels.items())[:LABELS] if LABEL.fullmatch(k) and v}
    names = {"alertname": "TrainwardenAlert", "stage": shown(alert.name, LABEL_CHARS) or "alert"}
    ends_s = now_s + HOLDS_S if alert.ended_s is None else alert.ended_s
    return {
        "labels": {**own, **names, "severity": shown(alert.severity, LABEL_CHARS) or "info", "id": alert.id},
        "annotations": {"summary": shown(alert.title, TITLE_CHARS), "description": shown(alert.text, TEXT_CHARS)},
        "startsAt": _time(min(alert.started_s, ends_s)),
        "endsAt": _time(ends_s),
        **({"generatorURL": alert.url} if alert.url else {}),
    }


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, timezone.utc).isoformat(timespec="milliseconds")
