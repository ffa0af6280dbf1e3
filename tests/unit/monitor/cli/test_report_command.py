"""`trainwarden report` without a daemon: from the history and the run's folder, opened for reading only."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import stat
from pathlib import Path

import msgspec
import pytest

from monitor.cli import execute
from monitor.history.recall import FILE_NAME
from monitor.report.report_input import without_statistics
from tests.harness.finished import lay_down
from tests.harness.pages import assert_inert
from tests.harness.report_inputs import rolled_back
from tests.harness.trainer import announce
from tests.harness.world import World
from trainer_hooks.wire.runfolder import RunFolder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAINWARDEN_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two runs that are over, one of which went back."""
    home = tmp_path_factory.mktemp("shared")
    lay_down(home, rolled_back(), "night-1", "the night")
    calm = World(epochs=4, batches_per_epoch=120)
    calm.train()
    lay_down(home, calm, "calm-2")
    return home


@pytest.fixture
def two_runs(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAINWARDEN_HOME", str(shared))
    return shared


@pytest.mark.usefixtures("two_runs")
def test_the_report_of_a_run_is_written_from_the_history(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["report", "night-1"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("# Run the night\n\n**Finished**")
    assert "as of 2025-11-18 00:25:06 UTC" in shown.splitlines()[2], "when the history was last written, not now"
    assert "| 1 | rolled back | epoch 4, batch 35 | end of epoch 3 |" in shown
    assert "## Incident 1 of the night" in shown


def test_a_name_in_html_makes_a_page_with_curves(
    two_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "night.HTML"
    assert execute(["report", "night-1", "-o", str(file)]) == 0
    assert capsys.readouterr().out.startswith(str(file))
    page = assert_inert(file.read_text(encoding="utf-8"))
    assert page.tags.count("svg") == 6 + 5
    assert "Around the onset of incident 1" in page.text
    assert two_runs != tmp_path


@pytest.mark.usefixtures("two_runs")
def test_html_goes_to_the_terminal_where_it_is_asked_for_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["report", "calm-2", "--html"]) == 0
    assert_inert(capsys.readouterr().out)


@pytest.mark.usefixtures("two_runs")
def test_two_runs_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["report", "--compare", "night-1", "calm-2"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("# Two runs: the night and calm-2")
    assert "| environment | epochs | 8 | 4 |" in shown
    assert execute(["report", "--compare", "night-1", "calm-2", "-o", str(tmp_path / "both.html")]) == 0
    page = assert_inert((tmp_path / "both.html").read_text(encoding="utf-8"))
    assert "A is the night, B is calm-2." in page.text


def test_the_history_is_only_read(two_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: _digest(path) for path in two_runs.iterdir() if path.is_file()}
    assert execute(["report", "night-1", "--html"]) == 0
    assert "</html>" in capsys.readouterr().out
    after = {path: _digest(path) for path in two_runs.iterdir() if path.is_file()}
    assert before == {path: after[path] for path in before}
    assert set(after) - set(before) <= {two_runs / f"{FILE_NAME}-shm", two_runs / f"{FILE_NAME}-wal"}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report"], "name one RUN, or two runs with --compare"),
        (["report", "night-1", "--compare", "night-1", "calm-2"], "name one RUN, or two runs with --compare"),
        (["report", "--incident", "1", "--compare", "night-1", "calm-2"], "--incident is for one RUN"),
        (["report", "night-3"], "did you mean 'night-1'?"),
        (["report", "--compare", "night-1", "nobody"], "the latest are night-1, calm-2"),
        (["report", "night-1", "--incident", "0"], "--incident"),
    ],
)
@pytest.mark.usefixtures("two_runs")
def test_a_mistake_is_one_sentence(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert (captured.out, captured.err.count("\n")) == ("", 1)


@pytest.mark.usefixtures("two_runs")
def test_a_file_that_can_not_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["report", "calm-2", "-o", str(tmp_path / "no" / "such.md")]) == 74
    assert "such.md: can't be written (No such file or directory)" in capsys.readouterr().err


def test_a_damaged_history_is_named_and_left_alone(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    announce(home, "night")
    (home / FILE_NAME).write_bytes(b"this is no database, and long enough to be asked" * 100)
    assert execute(["report", "night"]) == 78
    said = capsys.readouterr().err
    assert f"{FILE_NAME}: can't be read (file is not a database)" in said
    assert said.count("\n") == 1
    assert (home / FILE_NAME).read_bytes().startswith(b"this is no database")


def test_what_of_the_history_can_not_be_read_is_said_and_the_rest_is_told(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(epochs=2, batches_per_epoch=30)
    world.train()
    lay_down(home, world)
    with contextlib.closing(sqlite3.connect(home / FILE_NAME)) as db, db:
        db.execute("UPDATE journal SET entry = x'c1' WHERE seq = 20")
    assert execute(["report", "night"]) == 0
    captured = capsys.readouterr()
    assert "entry 20 of the journal can't be read" in captured.err
    assert "- Batches: 60 in 1 generation" in captured.out


def test_a_run_of_long_ago_is_told_from_the_state_in_its_folder(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = announce(home, "night")
    folder.state.write_bytes(msgspec.msgpack.encode(without_statistics(rolled_back().run)))
    assert execute(["report", "night"]) == 0
    assert "| 1 | rolled back |" in capsys.readouterr().out


def test_a_state_that_can_not_be_read_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = announce(home, "night")
    folder.state.write_bytes(b"\xc1")
    assert execute(["report", "night"]) == 78
    assert "state.msgpack: can't be read" in capsys.readouterr().err


def _reported(home: Path) -> RunFolder:
    folder = announce(home, "night")
    for number in (1, 2):
        (folder.reports / f"{number}.md").write_text(f"# Incident {number}\n")
    return folder


def test_where_only_the_incidents_reports_are_left_they_are_the_report(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _reported(home)
    assert execute(["report", "night"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("# Run night\n\nThe history does not hold this run any more.")
    assert "# Incident 1\n\n# Incident 2" in shown


def test_one_incident_can_be_asked_for(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _reported(home)
    assert execute(["report", "night", "--incident", "1"]) == 0
    assert capsys.readouterr().out == "# Incident 1\n"
    assert execute(["report", "night", "--incident", "9"]) == 2
    assert "there is no report of incident 9; there are reports of 1, 2" in capsys.readouterr().err


def test_a_run_of_which_nothing_is_left_can_not_be_reported_or_compared(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    announce(home, "night")
    assert execute(["report", "night"]) == 2
    assert "neither the daemon nor the history has this run any more, and it has no incident" in capsys.readouterr().err
    assert execute(["report", "--compare", "night", "night"]) == 2
    assert "holds no state to compare" in capsys.readouterr().err


@pytest.mark.usefixtures("two_runs")
def test_a_page_is_for_whom_its_user_lets_read_it(tmp_path: Path) -> None:
    """As any file a person writes: by their umask, not by ours."""
    file = tmp_path / "calm.html"
    assert execute(["report", "calm-2", "-o", str(file)]) == 0
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
