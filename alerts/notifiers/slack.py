"""Posts to a Slack channel, through an incoming webhook."""

from __future__ import annotations

from typing import Annotated

import msgspec

from alerts.alert import Alert
from alerts.http import Http
from alerts.notifiers import Sent, TimeoutS, about, register
from alerts.posting import JSON, encoded, post, shown, within
from alerts.secret import Secret

TITLE_CHARS, TEXT_CHARS = 150, 2800  # Slack's limits of a header and of a section, with room for escapes
COLOURS = {"critical": "#d02020", "warning": "#e0a000", "info": "#1f5fbf"}


class SlackConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A message in a Slack channel; the address is that of an incoming webhook."""

    url: Annotated[Secret, about("This is the address of an incoming webhook of Slack; it names the channel.")]
    timeout_s: TimeoutS = 10.0


@register("slack", SlackConfig)
async def slack(alert: Alert, config: SlackConfig, http: Http, now_s: float) -> Sent:
    """One try. Texts are plain text to Slack: no mention, link or format comes of a name."""
    title = shown(alert.title, TITLE_CHARS) or "trainwarden"
    text = within(shown(alert.text, TEXT_CHARS), 2 * TEXT_CHARS, "utf-16-le")
    blocks: list[dict[str, object]] = [
        {"type": "header", "text": {"type": "plain_text", "text": title, "emoji": False}},
        {"type": "section", "text": {"type": "plain_text", "text": text or "-"}},
    ]
    if alert.url:
        button = {"type": "button", "text": {"type": "plain_text", "text": "Open"}, "url": alert.url}
        blocks.append({"type": "actions", "elements": [button]})
    colour = "#2e8b57" if alert.ended_well else COLOURS.get(alert.severity, COLOURS["info"])
    message = {"text": _escaped(title), "attachments": [{"color": colour, "blocks": blocks}]}
    return await post(http, config.url, encoded(message), JSON, config.timeout_s, now_s)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
