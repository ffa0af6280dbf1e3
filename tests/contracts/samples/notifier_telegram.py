"""Telegram, held to the contract of notifiers."""

from __future__ import annotations

from alerts.notifiers.telegram import TelegramConfig
from alerts.secret import Secret


def config(url: str, key: str, timeout_s: float) -> TelegramConfig:
    """A receiver at `url`."""
    return TelegramConfig(url=Secret(url), token=Secret(key), chat="7", timeout_s=timeout_s)
