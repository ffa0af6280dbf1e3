"""Signals to the supervisor, as values that its loop reads. Installs handlers; close() restores the old ones."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections import deque
from types import FrameType

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
HANDLED = (*PASSED_ON, signal.SIGHUP, signal.SIGTSTP, signal.SIGCHLD)


class SignalInbox:
    """The signals since the last take(), in order. A signal that was ignored when we started stays ignored."""

    def __init__(self) -> None:
        self._arrived: deque[int] = deque(maxlen=64)  # more than anyone presses in the 0.2 s between two looks
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._before = {
            number: signal.signal(number, self._record)
            for number in HANDLED
            if signal.getsignal(number) is not signal.SIG_IGN
        }

    def _record(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:  # it only has to wake the loop, and it has
            self._arrived.append(number)

    def wait(self, timeout_s: float, *descriptors: int) -> None:
        """Until a signal arrives, one of `descriptors` is readable, or the time is over."""
        poller = select.poll()
        for descriptor in (self._read, *descriptors):
            poller.register(descriptor, select.POLLIN)
        poller.poll(timeout_s * 1000)
        with contextlib.suppress(BlockingIOError):  # nothing in it: a descriptor or the time woke us
            os.read(self._read, 4096)

    def take(self) -> list[int]:
        """The signals that arrived, oldest first."""
        taken = []
        while self._arrived:
            taken.append(self._arrived.popleft())
        return taken

    def stop_here(self) -> None:
        """Stop our whole job as Ctrl-Z does. Returns once it is continued, or at once if no shell could continue it."""
        before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(0, signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, before)

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)


def die_of(number: int) -> None:
    """End by the signal that ended the training, so that a shell's loop around us ends too."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
