"""Publishes to a topic of ntfy (https://ntfy.sh, or a server of your own), which its app shows on a phone."""

from __future__ import annotations

import msgspec

from alerts.alert import Alert
from alerts.http import Http
from alerts.notifiers import Sent, register
from alerts.posting import JSON, encoded, post, shown
from alerts.secret import Secret

TITLE_CHARS, TEXT_CHARS = 250, 3500  # ntfy turns a longer message into a file
PRIORITIES = {"critical": 5, "warning": 4, "info": 3}
TAGS = {"critical": "rotating_light", "warning": "warning", "info": "information_source"}


class NtfyConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A push message on the phone, by the app ntfy: choose a topic that nobody guesses, and subscribe to it there."""

    topic: Secret  # whoever knows it can read along
    url: Secret = Secret("https://ntfy.sh")
    token: Secret | None = None  # of a server that asks for one
    timeout_s: float = 10.0


@register("ntfy", NtfyConfig)
async def ntfy(alert: Alert, config: NtfyConfig, http: Http, now_s: float) -> Sent:
    """One try."""
    message = {
        "topic": config.topic.reveal(),
        "title": shown(alert.title, TITLE_CHARS),
        "message": shown(alert.text, TEXT_CHARS) or "-",
        "priority": 3 if alert.ended_s is not None else PRIORITIES.get(alert.severity, 3),
        "tags": ["white_check_mark" if alert.ended_s is not None else TAGS.get(alert.severity, "bell")],
        **({"click": alert.url} if alert.url else {}),
    }
    headers = JSON | ({"authorization": f"Bearer {config.token.reveal()}"} if config.token else {})
    return await post(http, config.url, encoded(message), headers, config.timeout_s, now_s)
