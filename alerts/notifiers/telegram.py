"""Sends a message of a Telegram bot to a chat, with the picture of the loss."""

from __future__ import annotations

import msgspec

from alerts.alert import Alert
from alerts.http import Http
from alerts.notifiers import Sent, register
from alerts.posting import JSON, encoded, form, post, shown
from alerts.secret import Secret

TEXT_CHARS, CAPTION_CHARS = 4000, 1000  # Telegram's limits are 4096 and 1024


class TelegramConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a Telegram bot: its token from @BotFather, and the number of the chat, in quotes."""

    token: Secret
    chat: str
    url: Secret = Secret("https://api.telegram.org")
    timeout_s: float = 10.0


@register("telegram", TelegramConfig)
async def telegram(alert: Alert, config: TelegramConfig, http: Http, now_s: float) -> Sent:
    """One try, as plain text: no format, link or mention comes of a name."""
    text = "\n\n".join(part for part in (alert.title, alert.text, alert.url) if part)
    silent = alert.severity == "info"
    if alert.picture:
        fields = {"chat_id": config.chat, "caption": shown(text, CAPTION_CHARS)}
        body, headers = form({**fields, "disable_notification": str(silent).lower()}, "photo", alert.picture)
        return await post(http, _method(config, "sendPhoto"), body, headers, config.timeout_s, now_s)
    message = {
        "chat_id": config.chat,
        "text": shown(text, TEXT_CHARS),
        "disable_notification": silent,
        "link_preview_options": {"is_disabled": True},
    }
    return await post(http, _method(config, "sendMessage"), encoded(message), JSON, config.timeout_s, now_s)


def _method(config: TelegramConfig, name: str) -> Secret:
    return Secret(f"{config.url.reveal().rstrip('/')}/bot{config.token.reveal()}/{name}")
