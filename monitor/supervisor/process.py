"""Processes, identified so that no signal reaches a wrong one. Reads /proc; sends signals through pidfds only.

A pid with its start time does not identify a process: pids are reused within one clock tick. So open a pidfd first,
then look at the process, then make sure that the pidfd still refers to a live process.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Stat:
    """The part of /proc/<pid>/stat that we use."""

    pid: int
    name: str
    state: str  # one letter; Z: it has ended, and its parent has not reaped it; D: even SIGKILL has to wait
    parent: int
    start_ticks: int  # since boot

    @property
    def gone(self) -> bool:
        return self.state in "ZX"


def read_stat(pid: int) -> Stat | None:
    """The process as it is now; None: there is none of that pid."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    head, _, tail = text.rpartition(")")  # a name may hold spaces and parentheses
    fields = tail.split()
    return Stat(pid, head.partition("(")[2], fields[0], int(fields[1]), int(fields[19]))


def boot_id() -> str:
    """Of the running kernel. Start ticks can be compared within one boot only."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def environment(pid: int) -> dict[str, str]:
    """What the process was started with; empty where it is gone or belongs to somebody else."""
    try:
        data = (PROC / str(pid) / "environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return {}
    pairs = (os.fsdecode(entry).partition("=") for entry in data.split(b"\0") if b"=" in entry)
    return {name: value for name, _, value in pairs}


def same_user(pid: int) -> bool:
    """True where the process is ours to signal, by its effective user."""
    try:
        return (PROC / str(pid)).stat().st_uid == os.geteuid()
    except (FileNotFoundError, ProcessLookupError):
        return False


class Handle:
    """One process, held by a pidfd: a signal sent through it reaches this process or none."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self.descriptor = descriptor

    @classmethod
    def take(cls, pid: int, proof: Callable[[int], bool] | None = None) -> Handle | None:
        """Hold `pid` if `proof` confirms that it is the right process; None: it has ended, or is another one."""
        try:
            handle = cls(pid, os.pidfd_open(pid))
        except ProcessLookupError:
            return None
        if proof is not None and not (proof(pid) and not handle.gone):
            handle.close()
            return None
        return handle

    @property
    def gone(self) -> bool:
        """True once the process has ended, reaped or not."""
        poller = select.poll()
        poller.register(self.descriptor, select.POLLIN)
        return bool(poller.poll(0))

    def send(self, number: int) -> None:
        """Signal it; a process that has ended meanwhile needs none."""
        with contextlib.suppress(ProcessLookupError):  # it has ended, which is what the signal was for
            signal.pidfd_send_signal(self.descriptor, number)

    def close(self) -> None:
        os.close(self.descriptor)
