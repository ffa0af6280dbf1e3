"""The daemon's clock. An edge file: the only one in `monitor`, beside the loop itself, that reads the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from monitor.core.state.clock_steps import STEP_BACK_S as STEP_S

PLAUSIBLE_S = 1_767_225_600.0  # 1 January 2026: before it, a machine without a battery has not asked for the time yet
STABLE_S = 600.0  # a wall clock that differs for as long is right, and ours is wrong; a shorter jump is a mistake


class Clock(Protocol):
    """Unix time. It goes back only where it was wrong, and then by more than STEP_S."""

    def now_s(self) -> float: ...


def since_boot_s() -> float:
    """Seconds, those of a suspended machine included: CLOCK_MONOTONIC leaves them out."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SystemClock:
    """Wall time when it was made, carried on by the time since boot: a short jump of the wall clock changes nothing.

    `floor_s` is the last time an earlier daemon wrote down: this one says no less, unless its wall clock was ahead.
    """

    def __init__(
        self,
        floor_s: float = 0.0,
        wall: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = since_boot_s,
    ) -> None:
        self._wall, self._elapsed = wall, elapsed
        self._differs_since_s: float | None = None
        wall_s = wall()
        was_ahead = PLAUSIBLE_S <= wall_s < floor_s - STEP_S
        self.stepped_s = wall_s - floor_s if was_ahead else 0.0  # by how much this clock goes on from an earlier place
        self._set(wall_s if was_ahead else max(wall_s, floor_s))

    def now_s(self) -> float:
        return self._anchor_s + (self._elapsed() - self._started_s)

    def follow(self) -> float:
        """Take the wall clock's time once it has differed for STABLE_S; returns the step in seconds, nearly always 0.

        Call it now and then.
        """
        now_s, wall_s = self.now_s(), self._wall()
        if abs(wall_s - now_s) <= STEP_S or wall_s < PLAUSIBLE_S:
            self._differs_since_s = None
        elif self._differs_since_s is None:
            self._differs_since_s = self._elapsed()
        elif self._elapsed() - self._differs_since_s >= STABLE_S:
            self._set(wall_s)
            return wall_s - now_s
        return 0.0

    def _set(self, now_s: float) -> None:
        self._anchor_s, self._started_s, self._differs_since_s = now_s, self._elapsed(), None
