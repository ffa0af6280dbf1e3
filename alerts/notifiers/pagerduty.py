"""Sends an event to PagerDuty (Events API v2): a thread is one of its incidents, and its end resolves it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from alerts.alert import Alert
from alerts.http import Http
from alerts.notifiers import Sent, TimeoutS, about, register
from alerts.posting import JSON, encoded, post, shown
from alerts.secret import Secret

SUMMARY_CHARS, TEXT_CHARS, KEY_CHARS, LABELS = 1000, 8000, 255, 32  # PagerDuty's limits are 1024 and 255


class PagerdutyConfig(msgspec.Struct, frozen=True, kw_only=True):
    """An event of PagerDuty; the key is the integration key of a service (Events API v2)."""

    routing_key: Annotated[Secret, about("This is the integration key of a service, for the Events API v2.")]
    url: Annotated[
        Secret, about("This is where events are posted; the service region of the EU has another address.")
    ] = Secret("https://events.pagerduty.com/v2/enqueue")
    timeout_s: TimeoutS = 10.0


@register("pagerduty", PagerdutyConfig, each=True)
async def pagerduty(alert: Alert, config: PagerdutyConfig, http: Http, now_s: float) -> Sent:
    """One try."""
    labels = {shown(k, 200): shown(v, 200) for k, v in list(alert.labels.items())[:LABELS]}
    event = {
        "routing_key": config.routing_key.reveal(),
        "event_action": "trigger" if alert.ended_s is None else "resolve",
        "dedup_key": shown(alert.thread or alert.id, KEY_CHARS),
        "payload": {
            "summary": shown(alert.title, SUMMARY_CHARS) or "-",
            "source": shown(alert.labels.get("run", "trainwarden"), 200) or "trainwarden",
            "severity": alert.severity if alert.severity in ("info", "warning", "critical") else "error",
            "custom_details": {"text": shown(alert.text, TEXT_CHARS), **labels},
        },
        **({"links": [{"href": alert.url, "text": "Open"}]} if alert.url else {}),
    }
    return await post(http, config.url, encoded(event), JSON, config.timeout_s, now_s)
