"""The number of the last entry, in a file beside the history: a history that lost its end can't say so itself.

An edge file. Written after each commit, without waiting for the disk: it outlives the process, not a power cut.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

WITNESS_NAME = "history.last"
_DIGITS = 20


class Witness:
    """The witness of the history in `folder`. It never stops the daemon: a file that can't be used says nothing."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = -1
        with contextlib.suppress(OSError):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            self._descriptor = os.open(folder / WITNESS_NAME, flags, 0o600)

    def last(self) -> int:
        """The number that was written last; 0: none."""
        with contextlib.suppress(OSError, ValueError):
            return max(int(os.pread(self._descriptor, _DIGITS, 0)), 0)
        return 0

    def write(self, seq: int) -> None:
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, f"{seq:0{_DIGITS}d}\n".encode(), 0)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
