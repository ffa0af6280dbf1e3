"""The user's terminal: which process group is in the foreground, our lines on it, and its end. Owns fds 0 to 2.

The training gets a process group of its own, made the foreground group as a shell does: Ctrl-C, Ctrl-Z and window
changes reach it once, and never us. A call on a terminal that has just gone does nothing.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from pathlib import Path

from monitor.core.model import Severity

CLEAR_LINE = "\r\x1b[K"  # a progress bar may stand half drawn on the line
TEXT_MAX = 4000  # characters of one line
TITLE_MAX = 200
KEEP_TITLE, GIVE_TITLE_BACK = "\x1b[22;2t", "\x1b[23;2t"  # xterm's stack of titles
WITHOUT_TITLE = ("", "dumb", "linux", "vt100", "ansi")  # TERM
HANG_UP = select.POLLHUP | select.POLLERR | select.POLLNVAL


def keep_running_in_the_background() -> None:
    """With SIGTTOU blocked, a background process may write to the terminal and hand the foreground on."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})


class Terminal:
    """Our controlling terminal on fd 0, or none at all."""

    def __init__(self) -> None:
        self.present = self._foreground() is not None

    def _foreground(self) -> int | None:
        """The foreground group; None: no terminal, or it is not the one that controls us."""
        try:
            return os.tcgetpgrp(0)
        except OSError:
            return None

    @property
    def ours(self) -> bool:
        """True while our own group is in the foreground."""
        return self.present and self._foreground() == os.getpgrp()

    def give(self, group: int) -> None:
        """Put `group` in the foreground, if we are."""
        if self.ours:
            self._set(group)

    def take_back(self, group: int) -> None:
        """Put ourselves in the foreground again, if `group` is; a shell that took it meanwhile keeps it."""
        if self.present and self._foreground() == group:
            self._set(os.getpgrp())

    def _set(self, group: int) -> None:
        with contextlib.suppress(OSError):  # the terminal or the group has gone in this very moment
            os.tcsetpgrp(0, group)


class TerminalOutput:
    """Prints our lines on the terminal, or into the run's output log once it is gone. Safe from any thread."""

    def __init__(self, log: Path, quiet: bool = False) -> None:
        self._log = log
        self._quiet = quiet
        self._lock = threading.Lock()
        self._terminals = {fd for fd in (0, 1, 2) if os.isatty(fd)}  # asked now: False after a hang-up
        self._shared = _same_file(1, 2)  # the training's output goes where our lines go
        self._titled = False  # the window has a title of ours

    def notify(self, text: str, severity: str = Severity.INFO) -> None:
        """One line. With `quiet`, only warnings and worse."""
        if self._quiet and severity == Severity.INFO:
            return
        line = f"trainwarden: {printable(text)[:TEXT_MAX]}\n"
        with self._lock:
            try:
                self._write(line)
            except OSError:  # EIO: hung up. EPIPE: the reader of our output has left. The training goes on
                self._move({2} | self._terminals)
                with contextlib.suppress(OSError):  # disk full: the line is lost
                    self._write(line)

    @property
    def has_title(self) -> bool:
        """True where our lines go to a terminal whose window has a title."""
        return 2 in self._terminals and not self._quiet and os.environ.get("TERM", "") not in WITHOUT_TITLE

    def title(self, text: str) -> None:
        """Set the title of the terminal's window: nothing on the screen changes."""
        self._send(("" if self._titled else KEEP_TITLE) + f"\x1b]2;{printable(text)[:TITLE_MAX]}\x07")
        self._titled = True

    def restore_title(self) -> None:
        """Give the window back the title that it had."""
        if self._titled:
            self._titled = False
            self._send(GIVE_TITLE_BACK)

    def _send(self, sequence: str) -> None:
        with self._lock, contextlib.suppress(OSError):  # hung up: there is no window any more
            if 2 in self._terminals:
                os.write(2, sequence.encode(errors="backslashreplace"))

    def _write(self, line: str) -> None:
        start = CLEAR_LINE if 2 in self._terminals else "\n" if self._shared else ""
        os.write(2, (start + line).encode(errors="backslashreplace"))

    @property
    def hung_up(self) -> bool:
        """True where one of our descriptors is a terminal that has gone."""
        poller = select.poll()
        for descriptor in self._terminals:
            poller.register(descriptor, 0)
        return any(events & HANG_UP for _, events in poller.poll(0))

    def leave_terminal(self) -> None:
        """Send what went to the terminal to the run's output log from now on; reading from it gives nothing."""
        with self._lock:
            self._move(self._terminals)

    def _move(self, descriptors: set[int]) -> None:
        self._terminals, self._shared = set(), True
        if not descriptors:
            return
        with contextlib.suppress(OSError):  # no log can be opened: the lines are lost, the training goes on
            log = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            nothing = os.open(os.devnull, os.O_RDONLY)
            for descriptor in descriptors:
                os.dup2(log if descriptor else nothing, descriptor)
            os.close(log)
            os.close(nothing)


def _same_file(one: int, other: int) -> bool:
    try:
        return os.path.sameopenfile(one, other)
    except OSError:  # one of them was closed before we were started
        return False


def printable(text: str) -> str:
    """The text without characters that could move a cursor, forge a line or turn the reading direction."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def print_error(text: str) -> None:
    """Print a sentence before there is a run."""
    sys.stderr.write(f"trainwarden: {printable(text)}\n")
