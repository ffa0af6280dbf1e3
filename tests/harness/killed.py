"""A process that dies in the middle of its work, at a place chosen by number: every file operation is such a place."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

OPERATIONS = ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.truncate")


def killed_at(number: int, work: Callable[[], object]) -> bool:
    """Do `work` in a forked process, killed before its file operation `number` (from 1); False: it got through."""
    pid = os.fork()
    if pid == 0:
        left = number

        def count(event: str, _arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event not in OPERATIONS:
                return
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)
