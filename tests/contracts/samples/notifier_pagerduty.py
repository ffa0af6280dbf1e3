"""PagerDuty, held to the contract of notifiers."""

from __future__ import annotations

from alerts.notifiers.pagerduty import PagerdutyConfig
from alerts.secret import Secret


def config(url: str, key: str, timeout_s: float) -> PagerdutyConfig:
    """A receiver at `url`."""
    return PagerdutyConfig(url=Secret(url), routing_key=Secret(key), timeout_s=timeout_s)
