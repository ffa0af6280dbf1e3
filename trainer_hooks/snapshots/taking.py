"""Takes snapshots of one training: when one is due, a copy in host memory, and a request for its file."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from weakref import ref

from trainer_hooks.copying import Copy
from trainer_hooks.recorder.probe_like import ProbeLike
from trainer_hooks.snapshots import file
from trainer_hooks.snapshots.due import SnapshotClock, has_room
from trainer_hooks.snapshots.host_copy import HostCopy
from trainer_hooks.snapshots.tree import Tree
from trainer_hooks.spool import Save, SnapshotRequest

NAME = Path("snapshot.pt")


class SnapshotTaker:
    """Holds nothing of the training but the copy of its last state."""

    def __init__(self, probe: ProbeLike, every_s: float) -> None:
        self._probe = probe
        self.wanted = every_s > 0
        self._every_s = every_s
        self._clock = SnapshotClock(every_s, time.monotonic())
        self._copy = HostCopy()
        self._request: ref[SnapshotRequest] | None = None  # alive: its file is being written from our buffers

    def begin_anew(self) -> None:
        """The states so far are of no use any more: the next one is due now, then as at the start of a training."""
        self._clock = SnapshotClock(self._every_s, time.monotonic(), first_s=0.0)

    @property
    def due(self) -> bool:
        """True: the state is to be saved at the next boundary that is fit for it."""
        return self.wanted and self._clock.is_due(time.monotonic())

    def take(self, state: Callable[[], Tree], save: Save) -> None:
        """Copy what `state` gives, and have it written. Where that raises, none is taken any more."""
        began_s = time.monotonic()
        if self._request is not None and self._request() is not None:
            return
        try:
            tree = state()
            size = file.size_of(tree)
            if not has_room(size):
                self._clock.taken(began_s, 0.0)
                return
            taken = self._copy.take(tree)
        except Exception:
            self._clock.failed()
            raise
        request = SnapshotRequest(NAME, functools.partial(_write, self._copy, taken, size), save, time.time())
        self._request = ref(request)
        self._probe.snapshot(request)
        self._clock.taken(time.monotonic(), time.monotonic() - began_s)


def _write(copy: HostCopy, tree: Tree, size: int, target: Path) -> Copy:
    copy.arrived()
    return file.write(tree, target, size)
