"""Whatever the daemon does, the training starts, continues and ends, and the daemon learns all of it in the end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.client.http import Client, ClientError, run_path
from monitor.core.model import GenerationExited, GenerationStarted, RunEnded
from monitor.supervisor.announcer import READY_S
from monitor.supervisor.daemon_keeper import START_S
from monitor.supervisor.terminal import TerminalOutput
from monitor.supervisor.timeline import POLL_S, Timeline
from tests.harness.daemon import PlainDaemon
from tests.harness.real_daemon import DaemonProcess
from tests.harness.supervisor import eventually, folder_of, no_process_left, output_until, supervisor
from trainer_hooks.wire.document_io import read
from trainer_hooks.wire.run_documents import Generation, GenerationOutcome, RunOutcome
from trainer_hooks.wire.runfolder import RunFolder

WAITS = """
import os, pathlib, time
folder = pathlib.Path(os.environ["TRAINWARDEN_RUN_FOLDER"])
(folder / "begun").touch()
while not (folder / "leave").exists():
    time.sleep(0.02)
print("TRAINED")
"""
EVERYTHING = ["run_announced", "generation_started", "generation_exited", "run_ended"]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    with no_process_left(folder_of(tmp_path / "home", "r")):
        yield tmp_path / "home"


def start(home: Path, **options: Any) -> tuple[subprocess.Popen[str], RunFolder]:
    (home.parent / "train.py").write_text(WAITS)
    return supervisor(home, home.parent, [sys.executable, "train.py"], run="r", **options), folder_of(home, "r")


def begun(folder: RunFolder) -> None:
    eventually("the training", (folder.root / "begun").exists)


def finish(process: subprocess.Popen[str], folder: RunFolder) -> str:
    (folder.root / "leave").touch()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "TRAINED" in output
    return output


def test_the_daemon_gets_everything_in_order_and_its_timeline_is_printed_on_the_terminal(home: Path) -> None:
    with PlainDaemon(home) as daemon:
        process, folder = start(home)
        begun(folder)
        daemon.notify("batch 32: NaN, \x1b[31mskipped")
        daemon.notify("a second line")
        output = finish(process, folder)
        assert daemon.kinds == EVERYTHING
    assert "trainwarden: batch 32: NaN, \\x1b[31mskipped\n" in output
    assert output.count("a second line") == 1
    assert "Metrics: http://127.0.0.1:9999/metrics (not 9469" in output
    written = read(folder.generation(1), Generation)
    assert daemon.last(GenerationStarted) == GenerationStarted("r", 1, written.nonce, written.pid, process.pid)
    exited = daemon.last(GenerationExited).exit
    assert (exited.code, exited.outcome) == (0, GenerationOutcome.FINISHED)
    assert daemon.last(RunEnded).how is RunOutcome.FINISHED


def test_the_exit_of_a_run_that_somebody_ends_says_so_and_cannot_be_taken_for_a_failure(home: Path) -> None:
    with PlainDaemon(home) as daemon:
        process, folder = start(home)
        begun(folder)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert daemon.kinds == EVERYTHING
        exited = daemon.last(GenerationExited).exit
        assert (exited.asked, exited.outcome) == (True, GenerationOutcome.INTERRUPTED)
        assert daemon.last(RunEnded).how is RunOutcome.STOPPED
    assert process.returncode == -signal.SIGINT


def test_a_training_without_any_daemon_trains_and_says_that_it_is_not_monitored(home: Path) -> None:
    process, folder = start(home)
    begun(folder)
    assert "Training continues without monitoring" in finish(process, folder)


def test_a_daemon_that_comes_later_gets_everything(home: Path) -> None:
    process, folder = start(home)
    begun(folder)
    with PlainDaemon(home) as daemon:
        eventually("the announcement", lambda: daemon.kinds[:2] == EVERYTHING[:2])
        output = finish(process, folder)
        assert daemon.kinds == EVERYTHING
    assert "The daemon is back" in output


def test_another_daemon_gets_the_run_and_its_generation_again(home: Path) -> None:
    with PlainDaemon(home, started_s=1.0) as first:
        process, folder = start(home)
        begun(folder)
        eventually("the announcement", lambda: first.kinds == EVERYTHING[:2])
    with PlainDaemon(home, started_s=2.0) as second:
        eventually("the announcement", lambda: second.kinds == EVERYTHING[:2])
        finish(process, folder)
        assert second.kinds == EVERYTHING


def test_a_daemon_that_refuses_is_quoted_and_the_training_trains(home: Path) -> None:
    with PlainDaemon(home, refusals={"run_announced": "policy.yaml: no such key"}):
        process, folder = start(home)
        begun(folder)
        assert "refused run_announced: policy.yaml: no such key" in finish(process, folder)


@pytest.mark.parametrize("answer", [None, b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"])
def test_something_else_on_the_daemons_socket_neither_stops_nor_holds_the_training(
    home: Path, answer: bytes | None
) -> None:
    """None: it accepts and never answers."""
    path = home / "run" / "api.sock"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(100)
        kept: list[socket.socket] = []
        threading.Thread(target=serve, args=(listener, answer, kept), daemon=True).start()
        process, folder = start(home)
        begun(folder)
        assert "Training continues without monitoring" in finish(process, folder)
        for connection in kept:
            connection.close()


def test_a_frozen_daemon_holds_up_neither_the_start_nor_the_end_of_a_training(home: Path) -> None:
    """The real one, stopped."""
    home.mkdir()
    with DaemonProcess(home) as daemon:
        daemon.signal(signal.SIGSTOP)
        process, folder = start(home, daemon_argv=())
        output_until(process, "Run r.")
        began_s = time.monotonic()
        begun(folder)
        assert time.monotonic() - began_s < READY_S < START_S
        ended_s = time.monotonic()
        output = finish(process, folder)
        assert time.monotonic() - ended_s < READY_S
        assert "until it answers, nothing is recorded or checked, and nobody is alerted" in output
        assert not (home / "daemon-start.log").exists(), "a second daemon was started in vain"


def test_a_frozen_daemon_that_is_continued_gets_everything(home: Path) -> None:
    home.mkdir()
    with DaemonProcess(home) as daemon:
        daemon.signal(signal.SIGSTOP)
        process, folder = start(home, daemon_argv=())
        begun(folder)
        daemon.signal(signal.SIGCONT)
        output = output_until(process, "The daemon is back and monitors run r")
        assert monitors_the_run(home)
        output += finish(process, folder)
    assert "run finished" in output


def serve(listener: socket.socket, answer: bytes | None, kept: list[socket.socket]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # the test is over
            return
        if answer is None:
            kept.append(connection)
            continue
        with connection, contextlib.suppress(ConnectionError):  # it has seen enough
            connection.recv(65536)
            connection.sendall(answer)


def monitors_the_run(home: Path) -> bool:
    """True once the daemon answers for the run."""
    try:
        detail = Client(home / "run" / "api.sock").get(run_path("r"), dict[str, Any])
    except ClientError:
        return False
    return bool(detail["summary"]["generation"])


def test_a_killed_daemon_is_started_again_and_knows_the_run(home: Path) -> None:
    """The real one."""
    process, folder = start(home, daemon_argv=(), port=0)
    output = output_until(process, "The daemon monitors run r")
    begun(folder)
    first = daemon_pid(home)
    assert first
    try:
        os.kill(first, signal.SIGKILL)
        output += output_until(process, "The daemon is back and monitors run r")
        assert daemon_pid(home) not in (0, first)
        assert monitors_the_run(home)
        output += finish(process, folder)
    finally:
        os.kill(daemon_pid(home), signal.SIGTERM)
    assert len(re.findall("monitors run r", output)) == 2
    assert "run finished" in output  # the new daemon's own word


def daemon_pid(home: Path) -> int:
    path = home / "run" / "daemon.json"
    return int(json.loads(path.read_text())["pid"]) if path.exists() else 0


class Late(Timeline):
    """Its thread begins a long poll just after the run has ended, as on a slow machine."""

    def _poll(self, client: Client, wait_s: float) -> int:
        if wait_s == POLL_S:
            self._closing.wait()
            time.sleep(0.2)  # what ends long polls comes in this time
        return super()._poll(client, wait_s)


def test_a_long_poll_that_begins_as_the_run_ends_does_not_hold_up_its_last_lines(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINWARDEN_HOME", str(home))
    with PlainDaemon(home):
        timeline = Late("r", TerminalOutput(tmp_path / "output.log"), from_now=True)
        timeline.start()
        eventually("the lines of before", lambda: not timeline._skip)
        assert timeline.close(POLL_S - 5.0)


def test_where_the_daemon_is_gone_at_the_end_the_timeline_says_that_it_has_not_printed_all(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINWARDEN_HOME", str(home))
    timeline = Timeline("r", TerminalOutput(tmp_path / "output.log"), from_now=False)
    timeline.start()
    assert timeline.close(20.0) is False
