"""Looking into real processes that answer nothing: held, healthy, stopped, gone; with py-spy, without it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.supervisor.stack_inspection import look
from tests.harness.receiver import wait_for
from trainer_hooks.wire.document_io import read, write
from trainer_hooks.wire.messages import StacksSeen
from trainer_hooks.wire.run_documents import HangDumpFile
from trainer_hooks.wire.runfolder import RunFolder

PROCESS = """
import ctypes, os, sys, threading, time
from pathlib import Path
from trainer_hooks.hang_dump import arm

lit = threading.Event()

def keep() -> None:
    heartbeat = arm(Path(sys.argv[1]))
    lit.set()
    while True:
        heartbeat.beat()
        time.sleep(0.05)

threading.Thread(target=keep, name="trainwarden-sender", daemon=True).start()
lit.wait()

def an_extension_that_never_returns() -> None:
    print("standing", flush=True)
    ctypes.PyDLL(None).pause()

def a_loop_that_runs_on() -> None:
    print("standing", flush=True)
    threading.Event().wait()

def one_that_closed_all_files() -> None:
    os.closerange(3, 256)
    for number in range(8):
        os.open(sys.argv[1] + ".users", os.O_CREAT | os.O_RDWR)
    an_extension_that_never_returns()

{"closed": one_that_closed_all_files, "held": an_extension_that_never_returns,
 "healthy": a_loop_that_runs_on}[sys.argv[2]]()
"""
PYSPY = """#!/bin/sh
echo 'Process 12: python train.py'
echo 'Thread 14 (idle): "a loader"'
echo '    wait (threading.py:327)'
echo 'Thread 12 (active): "MainThread"'
echo '    step (torch/optim/sgd.py:50)'
echo '    main (train.py:9)'
"""
REFUSING = "#!/bin/sh\necho 'Permission Denied: Try running again with elevated permissions' >&2\nexit 1\n"


class Patient:
    """A process with a hang_dump, in a folder of its own."""

    def __init__(self, folder: Path, state: str) -> None:
        self.folder = RunFolder(folder)
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        command = [sys.executable, "-c", PROCESS, str(self.folder.hang_dump(1, 0)), state]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "standing\n"
        self.hang_dump = read(self.folder.hang_dump(1, 0), HangDumpFile)

    def look(self) -> StacksSeen:
        return look(self.folder, 1, 0, "o1")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def held(tmp_path: Path, without_pyspy: None) -> Iterator[Patient]:
    patient = Patient(tmp_path, "held")
    yield patient
    patient.end()


@pytest.fixture
def healthy(tmp_path: Path, without_pyspy: None) -> Iterator[Patient]:
    patient = Patient(tmp_path, "healthy")
    yield patient
    patient.end()


@pytest.fixture
def without_pyspy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what every system has. One beside the interpreter would be found all the same."""
    if (Path(sys.executable).parent / "py-spy").exists():
        pytest.skip("py-spy is installed beside this interpreter")
    monkeypatch.setenv("PATH", "/nonexistent")


def put_pyspy(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "bin" / "py-spy"
    program.parent.mkdir()
    program.write_text(text)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)


def test_a_process_whose_interpreter_is_held_is_described_and_goes_on_standing(held: Patient) -> None:
    seen = held.look()
    assert seen.how == "faulthandler, /proc"
    assert seen.threads[0].startswith("MainThread\n")
    assert seen.threads[0].splitlines()[-1].endswith("an_extension_that_never_returns")
    assert not seen.stopped
    kernel = next(text for text in seen.threads if text.startswith("what the kernel says"))
    assert f"thread {held.hang_dump.pid}: " in kernel
    assert any("py-spy: not installed" in text for text in seen.threads)
    assert held.process.poll() is None
    assert "an_extension_that_never_returns" in held.look().threads[0], "a second look sees it as well"


def test_a_process_that_runs_is_never_signalled(healthy: Patient) -> None:
    size = Path(f"/proc/{healthy.hang_dump.pid}/fd/{healthy.hang_dump.descriptor}").stat().st_size
    seen = healthy.look()
    assert seen.how == "/proc"
    assert any("nothing blocks the interpreter" in text for text in seen.threads)
    assert Path(f"/proc/{healthy.hang_dump.pid}/fd/{healthy.hang_dump.descriptor}").stat().st_size == size


def test_a_process_that_was_stopped_is_left_alone(healthy: Patient) -> None:
    healthy.process.send_signal(signal.SIGSTOP)
    stat = Path(f"/proc/{healthy.hang_dump.pid}/stat")
    wait_for(lambda: ") T " in stat.read_text(), "the stop")
    seen = healthy.look()
    assert any("is stopped, so it is left alone" in text for text in seen.threads)
    assert any("T (stopped)" in text for text in seen.threads)
    assert seen.stopped
    healthy.process.send_signal(signal.SIGCONT)
    wait_for(lambda: ") T " not in stat.read_text(), "that it goes on")
    assert healthy.process.poll() is None


def test_a_training_that_closed_all_files_finds_no_stacks_in_its_own(tmp_path: Path, without_pyspy: None) -> None:
    patient = Patient(tmp_path, "closed")
    seen = patient.look()
    assert any("closed the file of its hang dump" in text for text in seen.threads)
    assert (tmp_path / "hang_dump-1-1-0.json.users").read_bytes() == b""
    patient.end()


def test_a_process_that_is_gone_or_another_one_is_not_looked_at(tmp_path: Path) -> None:
    patient = Patient(tmp_path, "healthy")
    patient.end()
    assert "can't be seen from here" in patient.look().threads[0]
    ours = HangDumpFile(pid=os.getpid(), start_ticks=1, thread=1, main_thread=1, signal=64, descriptor=0)
    write(patient.folder.hang_dump(1, 0), ours)
    assert "is another process by now" in patient.look().threads[0]
    assert "can't be read" in look(patient.folder, 2, 0, "o1").threads[0]


def test_py_spy_is_taken_where_there_is_one_and_told_like_our_own(
    held: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_pyspy(tmp_path, PYSPY, monkeypatch)
    seen = held.look()
    assert seen.how == "py-spy, /proc"
    assert seen.threads[0].splitlines()[1:] == ["  train.py:9 main", "  torch/optim/sgd.py:50 step"]
    assert "MainThread" in seen.threads[0].splitlines()[0]


def test_where_py_spy_is_not_permitted_the_beacon_is_asked_and_the_reason_is_told(
    held: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_pyspy(tmp_path, REFUSING, monkeypatch)
    seen = held.look()
    assert seen.how == "faulthandler, /proc"
    assert any("Permission Denied" in text for text in seen.threads)


@pytest.mark.skipif(shutil.which("py-spy") is None, reason="py-spy is not installed")
def test_the_real_py_spy_names_the_function_and_stops_nothing(tmp_path: Path) -> None:
    patient = Patient(tmp_path, "held")
    began_s = time.monotonic()
    seen = patient.look()
    assert seen.how.startswith("py-spy")
    assert "an_extension_that_never_returns" in seen.threads[0]
    assert time.monotonic() - began_s < 30.0
    assert patient.process.poll() is None
    patient.end()
