"""Publishes to a topic of ntfy (https://ntfy.sh, or a server of your own), which its app shows on a phone.

The picture of the loss follows by itself and without a sound: a server may take no files, and the message must arrive.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import msgspec

from alerts.alert import Alert
from alerts.http import Http
from alerts.notifiers import Outcome, Sent, TimeoutS, about, register
from alerts.posting import AGENT, JSON, encoded, post, shown, within
from alerts.secret import Secret

TITLE_CHARS, TEXT_BYTES = 250, 4000  # ntfy turns a message of more than 4096 bytes into a file, or refuses it
PRIORITIES = {"critical": 5, "warning": 4, "info": 3}
TAGS = {"critical": "rotating_light", "warning": "warning", "info": "information_source"}


class NtfyConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A push message on the phone, by the app ntfy: choose a topic that nobody guesses, and subscribe to it there."""

    topic: Annotated[
        Secret, about("This is the topic that you subscribed to in the app. Whoever knows it can read along.")
    ]
    url: Annotated[Secret, about("This is the server; the default is the public one.")] = Secret("https://ntfy.sh")
    token: Annotated[Secret | None, about("This is an access token, for a server or a topic that asks for one.")] = None
    timeout_s: TimeoutS = 10.0


@register("ntfy", NtfyConfig)
async def ntfy(alert: Alert, config: NtfyConfig, http: Http, now_s: float) -> Sent:
    """One try."""
    message = {
        "topic": config.topic.reveal(),
        "title": shown(alert.title, TITLE_CHARS),
        "message": within(shown(alert.text, TEXT_BYTES), TEXT_BYTES, "utf-8") or "-",
        "priority": 3 if alert.ended_well else PRIORITIES.get(alert.severity, 3),
        "tags": ["white_check_mark" if alert.ended_well else TAGS.get(alert.severity, "bell")],
        **({"click": alert.url} if alert.url else {}),
    }
    token = {"authorization": f"Bearer {config.token.reveal()}"} if config.token else {}
    sent = await post(http, config.url, encoded(message), JSON | token, config.timeout_s, now_s)
    if alert.picture and sent.outcome is Outcome.OK:  # what becomes of the picture changes nothing
        topic = Secret(f"{config.url.reveal().rstrip('/')}/{quote(config.topic.reveal(), safe='')}")
        headers = {"filename": "loss.png", "title": "Loss", "priority": "min", **AGENT, **token}
        await post(http, topic, alert.picture, headers, config.timeout_s, now_s)
    return sent
