"""The limits of what the supervisor keeps for a daemon that is away, and of what it reads of a hung process."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.core.format import plural
from monitor.core.model import ReceiptFound
from monitor.supervisor.announcer import QUEUE_MAX, RETRY_MAX_S, RETRY_S, Announcer
from monitor.supervisor.stack_inspection import (
    DUMP_BYTES_MAX,
    TEXT_CHARS_MAX,
    THREADS_MAX,
    _kernel,
    _pyspy,
    _written_after,
    look,
)
from monitor.supervisor.terminal import TerminalOutput
from tests.harness.daemon import PlainDaemon
from trainer_hooks.hang_dump import _start_ticks
from trainer_hooks.wire.document_io import write
from trainer_hooks.wire.plan import Receipt
from trainer_hooks.wire.run_documents import HangDumpFile
from trainer_hooks.wire.runfolder import ENV_HOME, RunFolder


class Away(Announcer):
    """Its daemon can't be started; it takes its pauses without waiting, and is closed after some of them."""

    pauses: list[float]
    pauses_max = 8

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if len(self.pauses) == self.pauses_max:
            self._closing.set()


@pytest.fixture
def announcer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Away]:
    monkeypatch.setenv(ENV_HOME, str(tmp_path / "home"))
    made = Away("r", TerminalOutput(tmp_path / "output.log"), port=0, daemon_argv=("false",))
    made.pauses = []
    yield made
    if made.keeper._process is not None:
        made.keeper._process.wait()


def receipt(number: int) -> ReceiptFound:
    given = {"generation": 1, "outcome": "applied", "detail": "", "epoch": 1, "batch": 1, "read_back": {}}
    return ReceiptFound("r", Receipt(order=f"o{number}", **given, written_s=0.0))  # type: ignore[arg-type]


def test_a_daemon_that_cannot_be_had_is_tried_less_and_less_often_up_to_a_limit(announcer: Away) -> None:
    announcer._work()
    doubled = [RETRY_S * 2**number for number in range(Away.pauses_max)]
    assert announcer.pauses == [min(pause_s, RETRY_MAX_S) for pause_s in doubled]
    assert doubled[-1] > RETRY_MAX_S


@pytest.mark.parametrize("beyond", [0, 3])
def test_a_daemon_that_was_away_for_long_gets_the_newest_inputs_and_the_user_learns_of_the_rest(
    announcer: Away, tmp_path: Path, capfd: pytest.CaptureFixture[str], beyond: int
) -> None:
    for number in range(QUEUE_MAX + beyond):
        announcer.send(receipt(number))
    with PlainDaemon(tmp_path / "home") as daemon:
        announcer._deliver()
    assert daemon.received[1:] == [receipt(number) for number in range(beyond, QUEUE_MAX + beyond)]
    shown = capfd.readouterr().err
    assert ("does not get the oldest 3 messages" in shown) == bool(beyond)


def test_an_input_that_gives_way_while_it_is_being_sent_takes_no_other_with_it(
    announcer: Away, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(QUEUE_MAX):
        announcer.send(receipt(number))
    post, late = announcer._client.post, [receipt(QUEUE_MAX)]

    def post_and_more(what: str, body: object) -> None:
        post(what, body)
        if isinstance(body, ReceiptFound) and late:
            announcer.send(late.pop())

    monkeypatch.setattr(announcer._client, "post", post_and_more)
    with PlainDaemon(tmp_path / "home") as daemon:
        announcer._deliver()
    assert daemon.received[1:] == [receipt(number) for number in range(QUEUE_MAX + 1)]
    assert announcer._given_up == 0


def fake_pyspy(folder: Path, monkeypatch: pytest.MonkeyPatch, threads: int, frames: int = 1) -> None:
    lines = [
        f"Thread {number} (active)\n" + "\n".join(f"    f{frame} (train.py:{frame})" for frame in range(frames))
        for number in range(threads)
    ]
    program = folder / "bin" / "py-spy"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\ncat <<'END'\n" + "\n".join(lines) + "\nEND\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)


def ourselves() -> HangDumpFile:
    return HangDumpFile(pid=os.getpid(), start_ticks=_start_ticks(), thread=1, main_thread=1, signal=64, descriptor=0)


@pytest.mark.parametrize("beyond", [0, 3])
def test_threads_are_read_from_outside_up_to_a_limit_and_the_rest_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beyond: int
) -> None:
    fake_pyspy(tmp_path, monkeypatch, THREADS_MAX + beyond)
    folder = RunFolder(tmp_path)
    write(folder.hang_dump(1, 0), ourselves())
    threads = look(folder, 1, 0, "o1").threads
    assert [text.startswith("Thread ") for text in threads[: THREADS_MAX + 1]] == [True] * THREADS_MAX + [False]
    assert (f"and {plural(beyond, 'more thread')}" in threads) == bool(beyond)


def test_of_a_deep_stack_that_py_spy_reads_the_innermost_frames_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pyspy(tmp_path, monkeypatch, 1, frames=TEXT_CHARS_MAX)
    [text] = _pyspy(ourselves())
    assert text.startswith("Thread 0 (active)\n")
    assert text.endswith("  train.py:1 f1\n  train.py:0 f0"), "py-spy writes the innermost first"
    assert len(text) == TEXT_CHARS_MAX


def test_what_the_kernel_says_of_many_threads_is_limited_and_the_rest_is_counted() -> None:
    done = threading.Event()
    threads = [threading.Thread(target=done.wait, args=(20,)) for _ in range(THREADS_MAX + 2)]
    for thread in threads:
        thread.start()
    try:
        lines = _kernel(ourselves())
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert len(lines) == THREADS_MAX + 1
    assert lines[-1].startswith("  and ")


@pytest.mark.parametrize("beyond", [0, 7])
def test_a_long_dump_is_cut_and_says_how_much_is_left_out(tmp_path: Path, beyond: int) -> None:
    file = tmp_path / "dump"
    file.write_bytes(b"before" + b"x" * (DUMP_BYTES_MAX + beyond))
    text = _written_after(file, len(b"before"))
    assert text.startswith("x" * DUMP_BYTES_MAX)
    assert text[DUMP_BYTES_MAX:].strip() == (f"... {beyond} more bytes of the dump were left out" if beyond else "")
