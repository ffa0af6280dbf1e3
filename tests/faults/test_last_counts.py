"""A training ends while no daemon is there, or without a word: what it had counted is known all the same, and said."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.daemon.missed_runs import MISSED
from monitor.history.journals import journals
from monitor.history.recall import FILE_NAME
from tests.harness.night_run import ROOT, environment_of_home, fresh_home
from tests.harness.real_daemon import DaemonProcess, until
from trainer_hooks.wire.last_counts import read_last_counts
from trainer_hooks.wire.runfolder import RunFolder

BATCHES, BAD_FROM = 200, 169
SCRIPT = """
import sys, time
from pathlib import Path
import torch
from trainer_hooks.integrations.plain import watch

how, folder = sys.argv[1], Path(sys.argv[2])
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), 1e-3)
loop = watch(model, optimizer, epochs=1, batches_per_epoch={batches})
secret = "hunter2"
for i in range({batches}):
    x = torch.randn(2, 4)
    if i >= {bad_from}:
        x[0] = float("nan")
    loss = model(x).pow(2).mean() if i < {bad_from} else torch.tensor(float("nan"))
    loop.batch(loss)
    if i == 100:
        (folder / "ready").touch()
        while not (folder / "go").exists():
            time.sleep(0.01)
(folder / "done").touch()
if how == "end":
    loop.end()
if how == "crash":
    [][len(secret)]
while how == "linger":
    time.sleep(0.05)
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """Where everything of a user lies; whatever was started in it is ended."""
    with fresh_home() as folder:
        yield folder


class Script:
    """A loop written by hand, without a supervisor, in the state home of a daemon."""

    def __init__(self, home: Path, how: str, run: str = "alone") -> None:
        """`run` is its name; empty: it has none, and its hook makes one up."""
        self.folder = home / f"script-{how}"
        self.folder.mkdir()
        (self.folder / "train.py").write_text(SCRIPT.format(batches=BATCHES, bad_from=BAD_FROM))
        self.log = self.folder / "log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(self.folder / "train.py"), how, str(self.folder)],
                env=environment_of_home(home, PYTHONPATH=str(ROOT)) | ({"TRAINWARDEN_RUN": run} if run else {}),
                stdout=output, stderr=output, cwd=self.folder,
            )  # fmt: skip
        self.runs = RunFolder(home / "runs" / run)

    def go(self) -> None:
        (self.folder / "go").touch()


def ready(script: Script, daemon: DaemonProcess) -> dict[str, Any]:
    """Half of the batches are counted, and the daemon has seen them."""
    until("the script is half way", (script.folder / "ready").exists, 60)

    def seen() -> dict[str, Any] | None:
        found = {run["run"]: run for run in daemon.json("/api/v1/runs")}
        return found["alone"] if found.get("alone", {}).get("batches") == 101 else None

    found = until("the daemon has seen the first half", seen)
    until("it is on disk", lambda: any(len(each.entries) > 100 for each in journals(daemon.home / FILE_NAME)[0]))
    return found


ENDS = [("end", 0, "finished"), ("none", 0, "finished"), ("crash", 1, "failed")]


@pytest.mark.parametrize(("how", "code", "state"), ENDS)
def test_what_was_counted_while_the_daemon_was_away_reaches_it_from_disk(
    how: str, code: int, state: str, home: Path
) -> None:
    with DaemonProcess(home) as daemon:
        script = Script(home, how)
        ready(script, daemon)
        daemon.kill()
        script.go()
        assert script.process.wait(60) == code
        daemon.start()
        summary = until("the run is over", lambda: _over(daemon))
        assert (summary["state"], summary["batches"], summary["nonfinite"]) == (state, BATCHES, BATCHES - BAD_FROM)
        counted = f"{BATCHES - BAD_FROM} non-finite of {BATCHES} batches in all; 98 batches not seen one by one"
        said = until("its line is on disk", lambda: counted in (text := _timeline(daemon)) and text)
        assert daemon.metric('trainwarden_batches_unseen_total{run="alone"}') == 98.0
        if how == "crash":
            assert "IndexError: list index out of range, at " in said
            assert "hunter2" not in said


@pytest.mark.parametrize(
    ("how", "code", "state", "name"),
    [("end", 0, "finished", ""), ("crash", 1, "failed", "alone")],
    ids=["unnamed", "named"],
)
def test_a_daemon_that_starts_after_a_whole_training_finds_it_in_its_folder(
    how: str, code: int, state: str, name: str, home: Path
) -> None:
    script = Script(home, how, name)
    script.go()
    assert script.process.wait(60) == code
    with DaemonProcess(home) as daemon:
        (run,) = until("it is over", lambda: [run for run in _runs(daemon) if over(run)])
        assert (run["state"], run["batches"], run["nonfinite"]) == (state, BATCHES, BATCHES - BAD_FROM)
        said = daemon.json(f"/api/v1/runs/{run['run']}/timeline?after=0&wait_s=0")
        assert any(MISSED in line["text"] for line in said)
        daemon.kill()
        daemon.start()
        assert len(_runs(daemon)) == 1


def test_a_run_that_a_daemon_has_seen_to_its_end_is_not_found_again(home: Path) -> None:
    with DaemonProcess(home) as daemon:
        script = Script(home, "end")
        script.go()
        assert script.process.wait(60) == 0
        until("the run is over", lambda: _over(daemon))
        until("its state is on disk", script.runs.state.exists)
        daemon.kill()
        (home / FILE_NAME).unlink()
        daemon.start()
        assert _runs(daemon) == []


def test_a_process_that_is_killed_while_the_daemon_is_away_leaves_what_it_had_a_few_seconds_before(home: Path) -> None:
    with DaemonProcess(home) as daemon:
        script = Script(home, "linger")
        ready(script, daemon)
        daemon.kill()
        script.go()
        until("the last counters are on disk", lambda: on_disk(script) == [BATCHES])
        script.process.send_signal(signal.SIGKILL)
        script.process.wait(20)
        daemon.start()
        summary = until("the run is over", lambda: _over(daemon))
        assert (summary["state"], summary["batches"], summary["nonfinite"]) == ("failed", BATCHES, BATCHES - BAD_FROM)
        said = "\n".join(line["text"] for line in daemon.json("/api/v1/runs/alone/timeline?after=0&wait_s=0"))
        assert "the end of training 1 was not reported, so its last batches may be missing" in said


def test_without_a_daemon_the_script_says_that_nothing_is_recorded_and_how_to_change_that(home: Path) -> None:
    script = Script(home, "end")
    until("it is said", lambda: "no trainwarden daemon is running" in script.log.read_text(), 60)
    script.go()
    assert script.process.wait(60) == 0
    said = script.log.read_text()
    assert said.count("no trainwarden daemon is running") == 1
    assert "trainwarden run -- python" in said
    assert "trainwarden serve" in said


def on_disk(script: Script) -> list[int]:
    return [last.counts.batches for last in read_last_counts(script.runs, 1)]


def _timeline(daemon: DaemonProcess) -> str:
    return "\n".join(line["text"] for line in daemon.json("/api/v1/runs/alone/timeline?after=0&wait_s=0"))


def _runs(daemon: DaemonProcess) -> list[dict[str, Any]]:
    return list(daemon.json("/api/v1/runs"))


def over(run: dict[str, Any]) -> bool:
    return run["state"] in ("finished", "failed", "stopped")


def _over(daemon: DaemonProcess) -> dict[str, Any] | None:
    found = next((run for run in daemon.json("/api/v1/runs") if run["run"] == "alone"), None)
    return found if found and over(found) else None
