"""A clock that tests move."""

from __future__ import annotations


class FakeClock:
    """Held to monitor.daemon.clock.Clock: it never goes back."""

    def __init__(self, now_s: float = 1_795_016_040.0) -> None:
        self._now_s = now_s

    def now_s(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        assert seconds >= 0, f"{seconds} s: this clock never goes back"
        self._now_s += seconds
