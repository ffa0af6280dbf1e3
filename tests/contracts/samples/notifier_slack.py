"""Slack, held to the contract of notifiers."""

from __future__ import annotations

from alerts.notifiers.slack import SlackConfig
from alerts.secret import Secret


def config(url: str, key: str, timeout_s: float) -> SlackConfig:
    """A receiver at `url`."""
    return SlackConfig(url=Secret(url), timeout_s=timeout_s)
