"""Posts an adaptive card to a Microsoft Teams channel, through a workflow's webhook."""

from __future__ import annotations

from typing import Annotated

import msgspec

from alerts.alert import Alert
from alerts.http import Http
from alerts.notifiers import Sent, TimeoutS, about, register
from alerts.posting import JSON, encoded, post, shown
from alerts.secret import Secret

TITLE_CHARS, TEXT_CHARS, LINES = 250, 3500, 100  # a card has at most 28 kB, and each line takes 70 bytes more
COLOURS = {"critical": "attention", "warning": "warning", "info": "accent"}


class TeamsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A card in a Teams channel; the address is that of a workflow "when a webhook request is received"."""

    url: Annotated[
        Secret,
        about("This is the address of a workflow of the channel that starts when a webhook request is received."),
    ]
    timeout_s: TimeoutS = 15.0


@register("teams", TeamsConfig)
async def teams(alert: Alert, config: TeamsConfig, http: Http, now_s: float) -> Sent:
    """One try. Every text is a TextRun, which knows no format."""
    colour = "good" if alert.ended_well else COLOURS.get(alert.severity, "accent")
    title = {"type": "TextRun", "text": shown(alert.title, TITLE_CHARS) or "-", "weight": "bolder", "color": colour}
    lines = shown(alert.text, TEXT_CHARS).splitlines() or ["-"]
    more = len(lines) - LINES
    if more > 0:
        lines[LINES:] = [f"… {more} more line{'' if more == 1 else 's'}"]
    body = [[title], *([{"type": "TextRun", "text": line or " "}] for line in lines)]
    card: dict[str, object] = {
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [{"type": "RichTextBlock", "inlines": inlines} for inlines in body],
        "actions": [{"type": "Action.OpenUrl", "title": "Open", "url": alert.url}] if alert.url else [],
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
    message = {"type": "message", "attachments": [attachment]}
    return await post(http, config.url, encoded(message), JSON, config.timeout_s, now_s)
