"""The daemon's clock. An edge file: the only one in `monitor`, beside the loop itself, that reads the time."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Unix time that never goes back."""

    def now_s(self) -> float: ...


class SystemClock:
    """Wall time when it was made, carried on by the monotonic clock: a jump of the wall clock changes no deadline.

    `floor_s` is the last time an earlier daemon wrote down: this one never says less.
    """

    def __init__(self, floor_s: float = 0.0) -> None:
        self._anchor_s = max(time.time(), floor_s)
        self._started_s = time.monotonic()

    def now_s(self) -> float:
        return self._anchor_s + (time.monotonic() - self._started_s)
