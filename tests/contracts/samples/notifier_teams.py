"""Teams, held to the contract of notifiers."""

from __future__ import annotations

from alerts.notifiers.teams import TeamsConfig
from alerts.secret import Secret


def config(url: str, key: str, timeout_s: float) -> TeamsConfig:
    """A receiver at `url`."""
    return TeamsConfig(url=Secret(url), timeout_s=timeout_s)
