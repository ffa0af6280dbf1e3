"""Looks into a rank of the training where the daemon asks for it, in a thread of its own: the watch never waits.

The supervisor is the training's ancestor, so the kernel lets it (and py-spy, its child) see more than the daemon.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from monitor.supervisor.stack_inspection import look
from trainer_hooks.wire.runfolder import LookWanted, RunFolder, RunFolderError, read


class StackRequests:
    """`glance` at each turn of the watch; `tell` gets what was seen, as the body of a POST."""

    def __init__(self, folder: RunFolder, tell: Callable[[str, dict[str, Any]], None]) -> None:
        self._folder = folder
        self._tell = tell
        self._seen_ns = 0  # when the folder last changed
        self._thread: threading.Thread | None = None

    def glance(self) -> None:
        """Begin to look, where a paper asks for it. Costs one stat where nothing has changed."""
        if self._thread is not None and self._thread.is_alive():
            return
        try:
            changed_ns = self._folder.root.stat().st_mtime_ns
            wanted = [] if changed_ns == self._seen_ns else sorted(self._folder.root.glob("look-*.json"))
        except OSError:  # a file system that is away: it is asked again at the next turn
            return
        self._seen_ns = changed_ns
        if wanted:
            self._thread = threading.Thread(target=self._look, args=(wanted,), name="lookout", daemon=True)
            self._thread.start()

    def _look(self, papers: list[Path]) -> None:
        for paper in papers:
            try:
                wanted = read(paper, LookWanted)
            except RunFolderError:  # not ours, or gone again: nobody waits for it for long
                continue
            finally:
                paper.unlink(missing_ok=True)
            seen = look(self._folder, wanted.generation, wanted.rank, wanted.order, wanted.training)
            body = {"generation": wanted.generation, "rank": wanted.rank, "seen": msgspec.to_builtins(seen)}
            self._tell("stacks", body)
