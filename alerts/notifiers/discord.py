"""Posts to a Discord channel, through a webhook, with the picture of the loss."""

from __future__ import annotations

from typing import Annotated

import msgspec

from alerts.alert import Alert
from alerts.http import Http
from alerts.notifiers import Sent, TimeoutS, about, register
from alerts.posting import JSON, encoded, form, post, shown, within
from alerts.secret import Secret

TITLE_CHARS, TEXT_CHARS = 120, 3500  # Discord's limits of an embed are 256 and 4096; a title's characters may double
COLOURS = {"critical": 0xD02020, "warning": 0xE0A000, "info": 0x1F5FBF}
OVER = 0x2E8B57


class DiscordConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A message in a Discord channel; the address is that of the channel's webhook."""

    url: Annotated[
        Secret, about("This is the address of the webhook of a channel (settings of the channel, Integrations).")
    ]
    timeout_s: TimeoutS = 10.0


@register("discord", DiscordConfig)
async def discord(alert: Alert, config: DiscordConfig, http: Http, now_s: float) -> Sent:
    """One try. The text stands in a code block, and nobody is mentioned whatever a name says."""
    text = within(shown(alert.text, TEXT_CHARS), 2 * TEXT_CHARS, "utf-16-le").replace("`", chr(0x2BC))
    embed: dict[str, object] = {
        "title": _plain(shown(alert.title, TITLE_CHARS)),
        "description": f"```\n{text}\n```",
        "color": OVER if alert.ended_well else COLOURS.get(alert.severity, COLOURS["info"]),
        **({"url": alert.url} if alert.url else {}),
    }
    message = {"embeds": [embed], "allowed_mentions": {"parse": []}}
    if not alert.picture:
        return await post(http, config.url, encoded(message), JSON, config.timeout_s, now_s)
    embed["image"] = {"url": "attachment://loss.png"}
    body, headers = form({"payload_json": encoded(message).decode()}, "files[0]", alert.picture)
    return await post(http, config.url, body, headers, config.timeout_s, now_s)


def _plain(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\*_~`|[]()<>#@:" else c for c in text)[: 2 * TITLE_CHARS]
