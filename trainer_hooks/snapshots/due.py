"""When the next snapshot is due: as often as the run asks for, and never for more than a share of the time."""

from __future__ import annotations

import math
import os
from pathlib import Path

from trainer_hooks.wire.runfolder import ENV_SNAPSHOTS

FIRST_S = 2.0  # from the start of a training to its first snapshot
SHARE_MAX = 0.005  # of the training's time, for its pauses
MEMORY_TIMES = 4  # room for so many copies of the state must be free in host memory: the training's needs come first
_MEMINFO = Path("/proc/meminfo")


def seconds_between() -> float:
    """What the environment asks for; 0: no snapshots."""
    try:
        asked = float(os.environ.get(ENV_SNAPSHOTS, ""))
    except ValueError:
        return 0.0
    return asked if math.isfinite(asked) and asked > 0 else 0.0


class SnapshotClock:
    """The first ones come sooner, each twice as long after the last: a short training needs them. On a steady clock."""

    def __init__(self, every_s: float, now_s: float, first_s: float = FIRST_S) -> None:
        self._every_s = every_s
        self._interval_s = min(FIRST_S, every_s)
        self._due_s = now_s + min(first_s, every_s) if every_s > 0 else math.inf

    def is_due(self, now_s: float) -> bool:
        """True: the next snapshot is to be taken at the next boundary that is fit for it."""
        return now_s >= self._due_s

    def taken(self, now_s: float, pause_s: float) -> None:
        """A snapshot has kept the training waiting for `pause_s`."""
        self._interval_s = min(self._every_s, 2 * self._interval_s)
        self._due_s = now_s + max(self._interval_s, pause_s / SHARE_MAX)

    def failed(self) -> None:
        """No snapshot can be taken of this training: none is due any more."""
        self._due_s = math.inf


def has_room(state_bytes: int) -> bool:
    """True: host memory has room for copies of a state of this size, or the system does not say how much is free."""
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return True
    free_kib = next((int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)
    return free_kib is None or free_kib * 1024 >= MEMORY_TIMES * state_bytes
