"""Sends a message of a Telegram bot to a chat, with the picture of the loss."""

from __future__ import annotations

from typing import Annotated

import msgspec

from alerts.alert import Alert
from alerts.http import Http
from alerts.notifiers import Outcome, Sent, TimeoutS, about, register
from alerts.posting import JSON, encoded, form, post, shown, within, without_mentions
from alerts.secret import Secret

TEXT_UNITS, CAPTION_UNITS = 4000, 1000  # Telegram's limits are 4096 and 1024, in units of UTF-16
TITLE_CHARS, UTF_16 = 250, "utf-16-le"


class TelegramConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a Telegram bot: its token from @BotFather, and the number of the chat, in quotes."""

    token: Annotated[Secret, about("This is the token of your bot, as @BotFather gave it.")]
    chat: Annotated[
        str,
        about(
            "This is the number of the chat, in quotes. Write to your bot once; getUpdates of its API shows it.",
            not_empty=True,
        ),
    ]
    url: Annotated[Secret, about("This is the server of the Bot API, where you run one of your own.")] = Secret(
        "https://api.telegram.org"
    )
    timeout_s: TimeoutS = 10.0


@register("telegram", TelegramConfig)
async def telegram(alert: Alert, config: TelegramConfig, http: Http, now_s: float) -> Sent:
    """One try, as plain text: no format, link or mention comes of a name.

    A text that is too long for the caption of a picture goes before it, as a message.
    """
    text, silent = _text(alert), alert.severity == "info"
    if not alert.picture:
        return await _message(text, silent, config, http, now_s)
    if _units(text) <= CAPTION_UNITS:
        return await _photo(alert.picture, text, silent, config, http, now_s)
    sent = await _message(text, silent, config, http, now_s)
    if sent.outcome is Outcome.OK:  # what becomes of the picture then changes nothing
        await _photo(alert.picture, without_mentions(shown(alert.title, TITLE_CHARS)), True, config, http, now_s)
    return sent


def _text(alert: Alert) -> str:
    """Title, text and link; where it is too long, the text is cut and the link stays."""
    title, link = without_mentions(shown(alert.title, TITLE_CHARS)), f"\n\n{alert.url}" if alert.url else ""
    rest = without_mentions(shown(alert.text, TEXT_UNITS))
    room = TEXT_UNITS - _units(title) - _units(link) - 2
    return f"{title}\n\n{within(rest, 2 * room, UTF_16)}{link}"


def _units(text: str) -> int:
    return len(text.encode(UTF_16)) // 2


async def _photo(picture: bytes, caption: str, silent: bool, config: TelegramConfig, http: Http, now_s: float) -> Sent:
    fields = {"chat_id": config.chat, "caption": caption, "disable_notification": str(silent).lower()}
    body, headers = form(fields, "photo", picture)
    return await post(http, _method(config, "sendPhoto"), body, headers, config.timeout_s, now_s)


async def _message(text: str, silent: bool, config: TelegramConfig, http: Http, now_s: float) -> Sent:
    message = {
        "chat_id": config.chat,
        "text": text,
        "disable_notification": silent,
        "link_preview_options": {"is_disabled": True},
    }
    return await post(http, _method(config, "sendMessage"), encoded(message), JSON, config.timeout_s, now_s)


def _method(config: TelegramConfig, name: str) -> Secret:
    return Secret(f"{config.url.reveal().rstrip('/')}/bot{config.token.reveal()}/{name}")
