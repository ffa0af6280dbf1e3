"""The Alertmanager, held to the contract of notifiers."""

from __future__ import annotations

from alerts.notifiers.alertmanager import AlertmanagerConfig
from alerts.secret import Secret


def config(url: str, key: str, timeout_s: float) -> AlertmanagerConfig:
    """A receiver at `url`."""
    return AlertmanagerConfig(url=Secret(url), token=Secret(key), timeout_s=timeout_s)
