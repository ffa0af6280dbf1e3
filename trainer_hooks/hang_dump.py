"""Lets another process see where this one hangs when a call that never returns holds the interpreter.

Makes a memory file, a signal handler and one paper in the run folder.

The hook's own thread answers "what are you doing" as long as Python runs at all. Where it doesn't, faulthandler still
can: it is C, asks for no lock, and dumps the stacks into the memory file when its signal comes. The signal is
sent to the hook's thread alone, so that no system call of the training is interrupted; and only while the heartbeat, a
counter in the same memory that this thread raises at each of its turns, stands still: then nobody can change the frames
that are being read.

`faulthandler.enable` and `dump_traceback_later` are left to the user: there is one of each in a process.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import signal
import struct
import threading
import time
from pathlib import Path

from trainer_hooks.stacks import shorten
from trainer_hooks.wire import document_io
from trainer_hooks.wire.dumps import parse_dump
from trainer_hooks.wire.run_documents import HangDumpFile
from trainer_hooks.wire.runfolder import HANG_DUMP_FILE

HEARTBEAT_BYTES = mmap.PAGESIZE  # the heartbeat has the first page; what faulthandler writes comes after it
WORKERS_MAX = 8  # asked one after the other; how many more there are is said
WORKER_S = 0.5
POLL_S = 0.02
DUMP_BYTES_MAX = 32 * 1024
SIGNALS_TRIED = 8  # real-time signals from the last one down; whoever takes one takes the first ones


class Heartbeat:
    """The armed hang dump of this process; the thread that armed it calls `beat` in each round."""

    def __init__(self) -> None:
        """For the hook's own thread to call. Raises OSError where there is no memory file or no free signal."""
        number = _free_signal()
        self._descriptor = os.memfd_create(HANG_DUMP_FILE.removeprefix("/memfd:"))
        os.ftruncate(self._descriptor, HEARTBEAT_BYTES)
        os.lseek(self._descriptor, 0, os.SEEK_END)
        self._memory = mmap.mmap(self._descriptor, HEARTBEAT_BYTES)
        self._count = 0
        self.pid = os.getpid()
        self.beat()
        faulthandler.register(number, file=self._descriptor, all_threads=True, chain=False)
        self._signal = number

    def beat(self) -> None:
        """This thread runs."""
        self._count += 1
        struct.pack_into("<Q", self._memory, 0, self._count)

    def ask_workers(self) -> list[str]:
        """The stacks of forked children, such as a loader's: they took file and handler with them when they began.

        For a training that stands still because of them: the signal reaches whatever they do.
        """
        workers = [pid for pid in _children() if self._armed(pid)]
        asked = [f"worker process {pid}\n{dump}" for pid in workers[:WORKERS_MAX] if (dump := self._dump_of(pid))]
        more = len(workers) - WORKERS_MAX
        return [*asked, f"and {more} more worker process{'' if more == 1 else 'es'}, not asked"] if more > 0 else asked

    def _armed(self, pid: int) -> bool:
        """False for a child that runs another program, or has closed what it inherited."""
        caught = _mask("SigCgt", pid) >> (self._signal - 1) & 1
        return bool(caught) and os.readlink(f"/proc/{pid}/fd/{self._descriptor}").startswith(HANG_DUMP_FILE)  # noqa: PTH115

    def _dump_of(self, pid: int) -> str:
        size, seen = os.fstat(self._descriptor).st_size, b""
        os.kill(pid, self._signal)
        deadline_s = time.monotonic() + WORKER_S
        while time.monotonic() < deadline_s:
            time.sleep(POLL_S)
            now = os.pread(self._descriptor, DUMP_BYTES_MAX, size)
            if now and now == seen:
                break
            seen = now
        threads = parse_dump(seen.decode(errors="replace"), shorten)
        return "\n".join(thread.frames for thread in sorted(threads, key=lambda each: not each.current)[:1])

    def described(self) -> HangDumpFile:
        """What somebody else needs in order to look."""
        return HangDumpFile(
            pid=os.getpid(),
            start_ticks=_start_ticks(),
            thread=threading.get_native_id(),
            main_thread=threading.main_thread().ident or 0,
            signal=self._signal,
            descriptor=self._descriptor,
        )


_heartbeat: Heartbeat | None = None


def arm(path: Path) -> Heartbeat:
    """The hang_dump of this process, its file written to `path` for the calling thread. Raises OSError."""
    global _heartbeat  # noqa: PLW0603 - signal handlers belong to the process
    if _heartbeat is None or _heartbeat.pid != os.getpid():  # a forked child that trains shares nothing with its parent
        _heartbeat = Heartbeat()
    document_io.write(path, _heartbeat.described())
    return _heartbeat


def _free_signal() -> int:
    """A real-time signal that nobody in this process handles, ignores or blocks."""
    for number in range(signal.SIGRTMAX, signal.SIGRTMAX - SIGNALS_TRIED, -1):
        if not any(_mask(name) >> (number - 1) & 1 for name in ("SigCgt", "SigIgn", "SigBlk")):
            return number
    raise OSError("every real-time signal that was tried is taken")


def _mask(name: str, pid: int | str = "self") -> int:
    with open(f"/proc/{pid}/status", "rb") as file:
        line = next(line for line in file if line.startswith(name.encode() + b":"))
    return int(line.split()[1], 16)


def _children() -> list[int]:
    """Of every thread of this process. The kernel lists them by the thread that made them."""
    return [int(pid) for tasks in Path("/proc/self/task").glob("*/children") for pid in tasks.read_text().split()]


def _start_ticks() -> int:
    with open("/proc/self/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])
