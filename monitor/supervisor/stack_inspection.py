"""Takes the stacks of a rank that does not answer, as far as the system allows. Never interrupts, stops or ends it.

An edge file: reads /proc, starts py-spy, and signals one thread of the hook. First py-spy where it is installed,
which only reads; else the hook's hang dump (see trainer_hooks.hang_dump); and always what the kernel says of each
thread.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trainer_hooks.wire.document_io import RunFolderError, read
from trainer_hooks.wire.dumps import parse_dump
from trainer_hooks.wire.messages import StacksSeen
from trainer_hooks.wire.run_documents import HangDumpFile
from trainer_hooks.wire.runfolder import HANG_DUMP_FILE, RunFolder

PROC = Path("/proc")
PYSPY_S = 10.0
HEARTBEAT_S = 1.0  # ten turns of the hook's thread
DUMP_S = 5.0
POLL_S = 0.05
DUMP_BYTES_MAX = 64 * 1024
LEFT_OUT = "\n  ... {:,} more bytes of the dump were left out\n"
THREADS_MAX = 12
STOPPED = ("T", "t")  # states of the kernel: by a signal, by a debugger
TEXT_CHARS_MAX = 2_000  # of one thread: all of them fit into one request to the daemon


class _Refused(Exception):
    """This method can't be used. The text is the reason."""


@dataclass(slots=True)
class _Look:
    methods: list[str] = field(default_factory=list)  # that worked
    failures: list[str] = field(default_factory=list)  # why the others did not
    threads: list[str] = field(default_factory=list)


def look(folder: RunFolder, generation: int, rank: int, order: str, training: int = 1) -> StacksSeen:
    """The stacks of a rank's threads, or why they can't be had. Takes at most about 20 s; never raises OSError."""
    found = _Look()
    try:
        hang_dump = read(folder.hang_dump(generation, rank, training), HangDumpFile)
        _check(hang_dump)
    except (OSError, RunFolderError, _Refused) as error:
        return StacksSeen(time.time(), order, "", 0.0, "", (f"its process could not be looked at: {error}",))
    for name, method in (("py-spy", _pyspy), ("faulthandler", _faulthandler)):
        if not found.threads:
            try:
                found.threads += _first(method(hang_dump))
                found.methods.append(name)
            except (OSError, _Refused) as error:
                found.failures.append(f"{name}: {error}")
    kernel = _kernel(hang_dump)
    if kernel:
        found.methods.append("/proc")
        found.threads.append("\n".join(["what the kernel says of its threads", *kernel])[:TEXT_CHARS_MAX])
    if found.failures:
        found.threads.append("\n  ".join(["methods that could not be used", *found.failures])[:TEXT_CHARS_MAX])
    how = ", ".join(found.methods)
    return StacksSeen(time.time(), order, "", 0.0, how, tuple(found.threads), stopped=_is_stopped(hang_dump.pid))


def _first(threads: list[str]) -> list[str]:
    more = len(threads) - THREADS_MAX
    return [*threads[:THREADS_MAX], *([f"and {more} more thread{'' if more == 1 else 's'}"] if more > 0 else [])]


def _check(hang_dump: HangDumpFile) -> None:
    """A pid may belong to another process by now, or lie in another namespace."""
    try:
        fields = (PROC / str(hang_dump.pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError as error:
        raise _Refused(f"process {hang_dump.pid} can't be seen from here ({error.strerror})") from error
    if int(fields[19]) != hang_dump.start_ticks:
        raise _Refused(f"process {hang_dump.pid} is another process by now")


def _is_stopped(pid: int) -> bool:
    try:
        return _field((PROC / str(pid) / "status").read_text(errors="replace"), "State").startswith(STOPPED)
    except OSError:  # it has just ended, which its waiter reports
        return False


def _pyspy(hang_dump: HangDumpFile) -> list[str]:
    """By py-spy, without stopping the process, which does not move anyway."""
    beside = str(Path(sys.executable).parent)
    program = shutil.which("py-spy", path=os.pathsep.join([beside, os.environ.get("PATH", os.defpath)]))
    if program is None:
        raise _Refused("not installed")
    command = [program, "dump", "--nonblocking", "--pid", str(hang_dump.pid)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PYSPY_S, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise _Refused(f"took longer than {PYSPY_S:.0f} s") from error
    if done.returncode != 0:
        raise _Refused((done.stderr or done.stdout).strip()[:300].replace("\n", " ") or f"exit {done.returncode}")
    blocks = [block for block in re.split(r"\n(?=Thread )", done.stdout) if block.startswith("Thread ")]
    if not blocks:
        raise _Refused("it found no thread")
    threads = [_innermost_last(block.splitlines()) for block in blocks if "trainwarden-sender" not in block]
    return sorted(threads, key=lambda text: "MainThread" not in text.partition("\n")[0])


def _innermost_last(lines: list[str]) -> str:
    """In the form of the hook's own stacks: py-spy writes `function (file:line)`, innermost first."""
    frames = [re.sub(r"^\s*(.+) \((.+)\)$", r"  \2 \1", line) for line in lines[1:] if line.strip()]
    room = TEXT_CHARS_MAX - len(lines[0][:TEXT_CHARS_MAX]) - 1
    return f"{lines[0][:TEXT_CHARS_MAX]}\n{chr(10).join(reversed(frames))[-room:] if room > 0 else ''}"


def _faulthandler(hang_dump: HangDumpFile) -> list[str]:
    """By the hook's hang dump, if the hook's thread does not run: then no Python code runs, and no frame changes."""
    path = PROC / str(hang_dump.pid) / "fd" / str(hang_dump.descriptor)
    if not os.readlink(path).startswith(HANG_DUMP_FILE):  # noqa: PTH115 - it is compared as text
        raise _Refused("the training has closed the file of its hang dump")
    before = _read(path)
    time.sleep(HEARTBEAT_S)
    after = _read(path)
    if _heartbeat(before) != _heartbeat(after):
        raise _Refused("the hook's own thread runs, so nothing blocks the interpreter; only the daemon can't reach it")
    status = (PROC / str(hang_dump.pid) / "task" / str(hang_dump.thread) / "status").read_text()
    if not int(_field(status, "SigCgt"), 16) >> (hang_dump.signal - 1) & 1:
        raise _Refused("its hang dump is not armed any more")
    if _field(status, "State").startswith(STOPPED):
        raise _Refused("the process is stopped, so it is left alone")
    if ctypes.CDLL(None, use_errno=True).tgkill(hang_dump.pid, hang_dump.thread, hang_dump.signal) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return _parse(_written_after(path, len(after)), hang_dump)


def _written_after(path: Path, size: int) -> str:
    """What faulthandler writes after the first `size` bytes, once it writes no more."""
    deadline_s, seen = time.monotonic() + DUMP_S, b""
    while time.monotonic() < deadline_s:
        time.sleep(POLL_S)
        now = _read(path)[size:]
        if now and now == seen:
            left_out = max(len(now) - DUMP_BYTES_MAX, 0)
            return now[:DUMP_BYTES_MAX].decode(errors="replace") + (LEFT_OUT.format(left_out) if left_out else "")
        seen = now
    raise _Refused(f"it wrote nothing within {DUMP_S:.0f} s")


def _parse(text: str, hang_dump: HangDumpFile) -> list[str]:
    """One text for each thread, the main thread first and the hook's own, which was signalled, left out."""
    threads = sorted(parse_dump(text, _short), key=lambda thread: thread.ident != hang_dump.main_thread)
    names = {hang_dump.main_thread: "MainThread"}
    shown = [thread for thread in threads if not thread.current]
    return [f"{names.get(thread.ident, f'thread {thread.ident:#x}')}\n{thread.frames}" for thread in shown]


def _kernel(hang_dump: HangDumpFile) -> list[str]:
    """A line for each thread: its name, its state, and where in the kernel it waits."""
    try:
        tasks = sorted((PROC / str(hang_dump.pid) / "task").iterdir(), key=lambda task: int(task.name))
    except OSError:  # it has just ended, which its waiter reports
        return []
    lines = [f"  {line}" for task in tasks[:THREADS_MAX] for line in _task(task)]
    more = len(tasks) - THREADS_MAX
    return [*lines, f"  and {more} more"] if more > 0 else lines


def _task(task: Path) -> Iterator[str]:
    parts = []
    for name in ("comm", "status", "wchan", "stack"):
        try:
            text = (task / name).read_text(errors="replace").strip()
        except OSError:  # not permitted, or the thread has ended: leave this part out
            continue
        if name == "status":
            text = _field(text, "State")
        if name == "stack":
            text = " < ".join(line.partition("] ")[2].partition("+")[0] for line in text.splitlines()[:4])
        if text and text != "0":
            parts.append(text if name == "comm" else f"{name} {text}" if name != "status" else text)
    if parts:
        yield f"thread {task.name}: {', '.join(parts)}"


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(DUMP_BYTES_MAX * 16)


def _heartbeat(data: bytes) -> int:
    count: int = struct.unpack_from("<Q", data)[0]
    return count


def _field(status: str, name: str) -> str:
    return next((line.partition(":")[2].strip() for line in status.splitlines() if line.startswith(f"{name}:")), "0")


def _short(path: str) -> str:
    below = path.rpartition("site-packages/")[2]
    return below if below != path else "/".join(Path(path).parts[-2:])
