"""Discord, held to the contract of notifiers."""

from __future__ import annotations

from alerts.notifiers.discord import DiscordConfig
from alerts.secret import Secret


def config(url: str, key: str, timeout_s: float) -> DiscordConfig:
    """A receiver at `url`."""
    return DiscordConfig(url=Secret(url), timeout_s=timeout_s)
