"""The hang_dump of a process of its own, whose interpreter is held by a C call that does not return."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.receiver import wait_for
from trainer_hooks.hang_dump import HEARTBEAT_BYTES
from trainer_hooks.wire.document_io import read
from trainer_hooks.wire.run_documents import HangDumpFile

HUNG = """
import ctypes, faulthandler, sys, threading
from pathlib import Path
from trainer_hooks.hang_dump import arm

faulthandler.enable()
faulthandler.dump_traceback_later(3600)  # the user's own
lit = threading.Event()

def keep() -> None:
    heartbeat = arm(Path(sys.argv[1]))
    heartbeat.beat()
    lit.set()
    threading.Event().wait()

threading.Thread(target=keep, daemon=True).start()
lit.wait()

def an_extension_that_never_returns() -> None:
    print("hanging", flush=True)
    ctypes.PyDLL(None).pause()  # PyDLL keeps the interpreter's lock

an_extension_that_never_returns()
print("interrupted", flush=True)
"""


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], HangDumpFile]]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    paper = tmp_path / "hang_dump.json"
    with subprocess.Popen([sys.executable, "-c", HUNG, paper], stdout=subprocess.PIPE, text=True, env=environment) as p:
        assert p.stdout is not None
        assert p.stdout.readline() == "hanging\n"
        yield p, read(paper, HangDumpFile)
        p.kill()


def seen(hang_dump: HangDumpFile) -> bytes:
    with open(f"/proc/{hang_dump.pid}/fd/{hang_dump.descriptor}", "rb") as file:
        return file.read()


def test_the_stacks_of_a_process_whose_interpreter_is_held_are_written_and_nothing_is_interrupted(
    hung: tuple[subprocess.Popen[str], HangDumpFile],
) -> None:
    process, hang_dump = hung
    assert struct.unpack_from("<Q", seen(hang_dump))[0] >= 1
    assert ctypes.CDLL(None).tgkill(hang_dump.pid, hang_dump.thread, hang_dump.signal) == 0
    wait_for(lambda: b"an_extension_that_never_returns" in seen(hang_dump)[HEARTBEAT_BYTES:], "the dump")
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    assert process.stdout is not None
    assert process.stdout.read() == ""  # pause() would have returned


def test_the_signal_is_one_that_nobody_else_has_taken(hung: tuple[subprocess.Popen[str], HangDumpFile]) -> None:
    _, hang_dump = hung
    assert signal.SIGRTMIN <= hang_dump.signal <= signal.SIGRTMAX
    assert hang_dump.thread != hang_dump.pid
