"""Takes the stacks of a rank where the daemon asks for them, in a thread of its own: the supervisor never waits.

The supervisor is the training's ancestor, so the kernel lets it (and py-spy, its child) see more than the daemon.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from monitor.core.model import StacksTaken
from monitor.supervisor.stack_inspection import look
from trainer_hooks.wire.document_io import RunFolderError, read
from trainer_hooks.wire.run_documents import LookWanted
from trainer_hooks.wire.runfolder import RunFolder


class StackRequests:
    """`check` is called at each turn of the watch; `send` gets what was seen."""

    def __init__(self, run: str, folder: RunFolder, send: Callable[[StacksTaken], None]) -> None:
        self._run = run
        self._folder = folder
        self._send = send
        self._seen_ns = 0  # when the folder last changed
        self._thread: threading.Thread | None = None

    def check(self) -> None:
        """Begin to look, where a document asks for it. Costs one stat where nothing has changed."""
        if self._thread is not None and self._thread.is_alive():
            return
        try:
            changed_ns = self._folder.root.stat().st_mtime_ns
            wanted = [] if changed_ns == self._seen_ns else sorted(self._folder.root.glob("look-*.json"))
        except OSError:  # a file system that is away: it is asked again at the next turn
            return
        self._seen_ns = changed_ns
        if wanted:
            self._thread = threading.Thread(target=self._look, args=(wanted,), name="stack-requests", daemon=True)
            self._thread.start()

    def _look(self, documents: list[Path]) -> None:
        for document in documents:
            try:
                wanted = read(document, LookWanted)
            except RunFolderError:  # not ours, or gone again: nobody waits for it for long
                continue
            finally:
                document.unlink(missing_ok=True)
            seen = look(self._folder, wanted.generation, wanted.rank, wanted.order, wanted.training)
            self._send(StacksTaken(self._run, wanted.generation, wanted.rank, seen))
