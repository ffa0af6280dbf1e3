"""Keeps a training and its output alive when the terminal it writes to goes away (a dropped SSH connection)."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

POLL_S = (
    0.5  # a hang-up itself wakes the poll at once; this only bounds how long a descriptor's replacement goes unseen
)
_OUTPUTS = (1, 2)
_File = tuple[int, int, int]
_STREAMS = {1: "stdout", 2: "stderr"}


def watch_hangup(log_path: Path) -> HangupWatch | None:
    """From now on, output goes on in `log_path` once the terminal is gone. None: no output goes to a terminal.

    Two ways lead there, since neither is enough: a thread that waits for the hang-up, for what native code prints; and
    Python's own stdout and stderr, for the write that comes in between and would end training with an OSError.
    """
    outputs = [descriptor for descriptor in _OUTPUTS if os.isatty(descriptor)]
    if not outputs:
        return None
    watch = HangupWatch(log_path, outputs, [0] if os.isatty(0) else [])
    for descriptor in outputs:
        _let_writes_survive(_STREAMS[descriptor], descriptor, watch)
    threading.Thread(target=watch.run, name="trainwarden-terminal", daemon=True).start()
    return watch


class HangupWatch:
    """The descriptors that are on the terminal, and what becomes of them when it hangs up."""

    def __init__(self, log_path: Path, outputs: Iterable[int], inputs: Iterable[int] = ()) -> None:
        self._log_path = log_path
        self._outputs = {descriptor: _file_behind(descriptor) for descriptor in outputs}
        self._inputs = {descriptor: _file_behind(descriptor) for descriptor in inputs}
        self._moved = False
        self._lock = threading.Lock()

    def run(self) -> None:
        """Wait for the hang-up, move, return. Also returns when the program itself has put something else in place."""
        while not self._moved and (present := _still(self._outputs)):
            if hung_up(present, POLL_S):
                self.move()

    def move(self) -> None:
        """Point the outputs at the log, the inputs at nothing; once, whoever comes first."""
        with self._lock:
            self._move()

    def has_taken_over(self, descriptor: int) -> bool:
        """Whether a write that `descriptor` refused may be tried again: its terminal is gone and the log took over.

        Asked under the lock: between the refusal and this question the waiting thread may have moved the outputs, and
        then the descriptor no longer reports a hang-up.
        """
        with self._lock:
            if hung_up([descriptor], 0.0):
                self._move()
            return self._moved

    def _move(self) -> None:
        if not self._moved:
            log = self._open_log()
            with contextlib.suppress(OSError):  # a full disk: the training is worth more than this line
                os.write(log, f"\n--- {time.ctime()}: the terminal is gone, the output goes on here ---\n".encode())
            _replace(_still(self._outputs), log)
            _replace([d for d in _still(self._inputs) if hung_up([d], 0.0)], os.open(os.devnull, os.O_RDONLY))
            self._moved = True

    def _open_log(self) -> int:
        try:
            self._log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
            return os.open(self._log_path, flags, 0o600)
        except OSError:
            return os.open(os.devnull, os.O_WRONLY)  # no output is better than no training


def hung_up(descriptors: Iterable[int], timeout_s: float) -> bool:
    """True as soon as one of the descriptors reports a hang-up or an error; False when the time is over."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, 0)  # no events wanted: hang-up and error are always reported
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(round(timeout_s * 1000)))


class SurvivingFile(io.FileIO):
    """The raw end of stdout or stderr: a write that meets the hang-up moves to the log and is written there."""

    def __init__(self, descriptor: int, name: str, watch: HangupWatch) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.name = name
        self._watch = watch

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno != errno.EIO or not self._watch.has_taken_over(self.fileno()):
                raise
            return super().write(data) or 0


def _let_writes_survive(name: str, descriptor: int, watch: HangupWatch) -> None:
    """Rebuild sys.stdout or sys.stderr as it was, on a raw file that survives; left alone where not Python's own."""
    stream: TextIO = getattr(sys, name)
    if not isinstance(stream, io.TextIOWrapper) or stream.fileno() != descriptor:
        return
    stream.flush()
    raw = SurvivingFile(descriptor, f"<{name}>", watch)
    binary = io.BufferedWriter(raw) if isinstance(stream.buffer, io.BufferedWriter) else raw
    rebuilt = io.TextIOWrapper(
        binary,  # with python -u the raw file itself, as Python does it
        encoding=stream.encoding,
        errors=stream.errors,
        newline="\n",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
    vars(rebuilt)["mode"] = "w"  # as Python sets it on its own
    setattr(sys, name, rebuilt)
    setattr(sys, f"__{name}__", rebuilt)


def _replace(descriptors: Iterable[int], file: int) -> None:
    for descriptor in descriptors:
        os.dup2(file, descriptor)
    os.close(file)


def _still(recorded: dict[int, _File | None]) -> list[int]:
    """The descriptors that are on the same file as when they were recorded: the others are no longer ours to move."""
    return [descriptor for descriptor, file in recorded.items() if _file_behind(descriptor) == file]


def _file_behind(descriptor: int) -> _File | None:
    """Which file a descriptor is on; it stays the same when that is a terminal that hung up. None: closed."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_rdev
