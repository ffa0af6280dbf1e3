"""The webhook, held to the contract of notifiers."""

from __future__ import annotations

from alerts.notifiers.webhook import WebhookConfig
from alerts.secret import Secret


def config(url: str, key: str, timeout_s: float) -> WebhookConfig:
    """A receiver at `url`, signed with `key`."""
    return WebhookConfig(url=Secret(url), secrets=(Secret(key),), timeout_s=timeout_s)
