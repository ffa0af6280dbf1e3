"""ntfy, held to the contract of notifiers."""

from __future__ import annotations

from alerts.notifiers.ntfy import NtfyConfig
from alerts.secret import Secret


def config(url: str, key: str, timeout_s: float) -> NtfyConfig:
    """A receiver at `url`."""
    return NtfyConfig(url=Secret(url), topic=Secret(key), token=Secret(key), timeout_s=timeout_s)
