"""The commands that ask the daemon, against a real one that a trainer streams to; and without one."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from _trainwarden import console_command
from monitor.cli import execute
from monitor.client.http import Client, UnreachableError, run_path
from monitor.core.model import RunEnded
from monitor.core.model.channel import Health, RunAnnounced, TimelineLine
from monitor.daemon.api.snapshots import RunDetail, RunSummary
from tests.harness.trainer import FakeTrainer, announce
from trainer_hooks.wire.run_documents import RunOutcome

RUN = "night-3f2a"
T = TypeVar("T")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAINWARDEN_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of a daemon that `trainwarden serve` runs, as the environment has it."""
    home = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAINWARDEN_HOME", str(home))
        yield from serving(home)


def serving(home: Path) -> Iterator[Path]:
    command = console_command("serve", "--port", "0")
    with (home / "output").open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        eventually(lambda: ask("/api/v1/health", Health) is not None)
        yield home
    finally:
        process.terminate()
        process.wait(20)


def ask(path: str, kind: type[T]) -> T | None:
    """The daemon's answer; None while there is no daemon."""
    try:
        with Client() as client:
            return client.get(path, kind)
    except UnreachableError:
        return None


def eventually(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, f"it did not happen within {within_s} s"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def watched(served: Path) -> Iterator[str]:
    """A run that has sent 20 batches, the last two of them NaN."""
    announce(served, RUN)
    with FakeTrainer(served, RUN) as trainer:
        trainer.allocate()
        with Client() as client:
            client.post(run_path(RUN, "inputs"), RunAnnounced(RUN))
        trainer.start()
        trainer.until_seen()
        trainer.batches(20, nonfinite=2)
        eventually(lambda: (found := ask(run_path(RUN), RunDetail)) is not None and found.summary.batches == 20)
        yield RUN


@pytest.mark.usefixtures("watched")
def test_status_shows_each_run_with_its_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["status"]) == 0
    assert " 1/50   19/100  2 " in (shown := capsys.readouterr().out)
    assert shown.rstrip().endswith(f"test of {RUN}")


@pytest.mark.usefixtures("watched")
def test_status_of_a_run_shows_its_detail(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["status", RUN]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "non-finite 2 of 20 batches, 2 steps skipped" in shown
    assert "deadline none" in shown
    assert "/metrics" in shown


@pytest.mark.usefixtures("watched")
def test_json_holds_what_the_table_shows(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["status", "--json"]) == 0
    runs = msgspec.json.decode(capsys.readouterr().out, type=list[RunSummary])
    assert execute(["status", RUN, "--json"]) == 0
    detail = msgspec.json.decode(capsys.readouterr().out, type=RunDetail)
    assert [(run.run, run.nonfinite) for run in runs] == [(detail.summary.run, detail.summary.nonfinite)] == [(RUN, 2)]


@pytest.mark.usefixtures("watched")
def test_a_run_without_checkpoints_or_incidents_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["checkpoints", RUN]) == 0
    assert "has not saved a checkpoint yet" in capsys.readouterr().out
    assert execute(["report", RUN, "--incident", "1"]) == 2
    assert "has no incident" in capsys.readouterr().err
    assert execute(["report", RUN]) == 0
    assert "- Incidents: none." in capsys.readouterr().out


def test_an_operator_is_heard(watched: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["stop", RUN]) == 0
    assert f"trainwarden status {RUN}" in capsys.readouterr().out
    timeline = ask(run_path(watched, "timeline"), list[TimelineLine])
    assert timeline is not None
    assert any("asked to stop" in line.text for line in timeline)


@pytest.mark.usefixtures("watched")
def test_a_rollback_that_nobody_could_carry_out_is_refused_with_the_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["rollback", RUN]) == 2
    assert f"trainwarden run --adopt {RUN}" in capsys.readouterr().err


def test_a_run_that_is_over_can_not_be_stopped(served: Path, capsys: pytest.CaptureFixture[str]) -> None:
    announce(served, "done")
    with Client() as client:
        client.post(run_path("done", "inputs"), RunAnnounced("done"))
        client.post(run_path("done", "inputs"), RunEnded("done", RunOutcome.FINISHED, "exit code 0"))
    assert execute(["stop", "done"]) == 2
    assert "this run has ended (finished)" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "report", "checkpoints", "stop", "rollback"])
def test_an_unknown_run_names_the_nearest_ones(command: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    announce(home, RUN)
    announce(home, "other")
    assert execute([command, "night-3f2b"]) == 2
    assert f"run 'night-3f2b': no run has this name; did you mean '{RUN}'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../other", "a\nb", "/etc", "x" * 65])
def test_a_name_that_could_leave_the_folder_of_runs_is_no_run(
    name: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    announce(home, RUN)
    assert execute(["report", name]) == 2
    said = capsys.readouterr().err
    assert "no run has this name" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("arguments", [["status"], ["status", RUN], ["checkpoints", RUN], ["stop", RUN]])
def test_without_a_daemon_it_says_how_to_get_one(
    arguments: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    announce(home, RUN)
    assert execute(arguments) == 69
    said = capsys.readouterr().err
    assert "no daemon answers" in said
    assert "trainwarden serve" in said
    assert said.count("\n") == 1


@pytest.mark.usefixtures("served")
def test_a_second_daemon_of_the_same_folder_is_refused_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert execute(["serve", "--port", "0"]) == 73
    said = capfd.readouterr().err
    assert said.startswith("trainwarden: ")
    assert "already the daemon" in said
    assert said.count("\n") == 1
