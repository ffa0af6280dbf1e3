"""`trainwarden resume`: what it starts again, and what it refuses with one sentence."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from monitor.cli.resume_command import NAMED_MAX
from monitor.history.recall import FILE_NAME
from tests.harness.night_run import (
    PLAIN_TRAINING,
    Daemon,
    NightRun,
    says_one_sentence,
    trainwarden,
)
from tests.harness.power_cut import power_cut
from tests.harness.supervisor import eventually
from trainer_hooks.wire.document_io import read, write
from trainer_hooks.wire.plan import Plan
from trainer_hooks.wire.run_documents import RunOutcome, RunOver, RunSpec
from trainer_hooks.wire.runfolder import run_folder

EPOCHS = ("--bad", "", "--epochs", "3", "--batches", "20")


def resume(home: Path, *arguments: str) -> str:
    """What it refuses with."""
    return says_one_sentence(trainwarden(home, "resume", *arguments), 78)


def trained(run: NightRun) -> int:
    """Batches so far."""
    shown = trainwarden(run.home, "status", run.run, "--json")
    return int(json.loads(shown.stdout)["summary"]["batches"]) if shown.returncode == 0 else 0


def until_epoch(run: NightRun, epoch: int) -> None:
    """Its checkpoint was examined."""
    run.until_says(f"checkpoint of epoch {epoch}: sound")


def test_a_run_that_lives_is_refused_with_or_without_its_supervisor(home: Path, checkpoints: Path) -> None:
    run = NightRun(home, checkpoints, *EPOCHS, "--batch-s", "5")
    generation = run.until_generation(1)
    assert "run 'night' is live, under the supervisor with pid" in resume(home, "night")
    run.kill_supervisor()
    assert f"its training still runs (process {generation.pid}) without a supervisor" in resume(home, "night")
    assert "no run died or failed" in says_one_sentence(trainwarden(home, "resume"), 2)
    assert "did you mean 'night'" in says_one_sentence(trainwarden(home, "resume", "nigth"), 2)


def test_what_died_before_its_first_checkpoint_is_started_anew_only_where_that_is_asked_for(
    home: Path, checkpoints: Path
) -> None:
    run = NightRun(home, checkpoints, "--bad", "", "--epochs", "1", "--batches", "150", "--batch-s", "0.1")
    run.until("the first batches", lambda: trained(run) > 0)
    power_cut(run)
    before = sorted(path.name for path in run.folder.root.iterdir())
    said = trainwarden(home, "resume", "--port", "0", "night")
    assert said.returncode == 78
    assert said.stderr.splitlines()[-1].startswith(
        "trainwarden: run 'night' can't be resumed: there is no clean checkpoint. Nothing was started. "
        "To start it anew, in "
    )
    assert said.stderr.splitlines()[-1].endswith(
        f"--save-dir {run.save_dir} --bad '' --epochs 1 --batches 150 --batch-s 0.1"
    )
    assert [name for name in before if not (run.folder.root / name).exists()] == []
    assert not run.folder.ended.exists()
    anew = trainwarden(home, "resume", "--anew", "--port", "0", "night")
    assert anew.returncode == 0, anew.stderr
    assert run.rows() == ["1"]
    assert run.plans() == []


def test_a_command_or_a_folder_that_is_gone_is_named(home: Path, checkpoints: Path, tmp_path: Path) -> None:
    script, folder = tmp_path / "train", tmp_path / "project"
    script.write_text(f"#!{sys.executable}\nfrom tests.harness.plain_training import main\nmain()\n")
    script.chmod(0o755)
    folder.mkdir()
    run = NightRun(home, checkpoints, *EPOCHS, "--batch-s", "0.2", command=(str(script),), cwd=folder)
    until_epoch(run, 1)
    power_cut(run)
    script.rename(tmp_path / "elsewhere")
    assert f"{str(script)!r}: there is no such command" in resume(home)
    folder.rmdir()
    assert resume(home) == f"trainwarden: run 'night': its folder {folder} is gone. Put it back, then resume the run\n"


def test_a_run_that_a_person_stopped_is_resumed_where_it_is_named(home: Path, checkpoints: Path) -> None:
    run = NightRun(home, checkpoints, *EPOCHS, "--batch-s", "0.25")
    until_epoch(run, 1)
    assert trainwarden(home, "stop", "night").returncode == 0
    run.wait()
    assert "no run died or failed" in says_one_sentence(trainwarden(home, "resume"), 2)
    done = trainwarden(home, "resume", "night")
    assert done.returncode == 0, done.stderr
    assert run.rows() == ["1", "2", "3"]
    assert "Generation 2 goes on at epoch 2" in done.stderr


def test_a_run_that_failed_is_resumed_by_a_daemon_that_has_forgotten_it(home: Path, checkpoints: Path) -> None:
    """As days later: what the run folder holds of its state is enough."""
    run = NightRun(home, checkpoints, *EPOCHS, "--batch-s", "0.1", options=("--observe",))
    generation = run.until_generation(1)
    until_epoch(run, 2)
    os.kill(generation.pid, signal.SIGKILL)
    assert run.wait() == 128 + signal.SIGKILL, "a run that is only observed is not started again"
    eventually("the state in its folder", run.folder.state.exists)
    Daemon(home).kill()
    forgotten = list(home.glob(f"{FILE_NAME}*"))
    assert forgotten, "the history is elsewhere"
    for path in forgotten:
        path.unlink()
    shutil.rmtree(home / "run")
    done = trainwarden(home, "resume", "--port", "0")
    assert done.returncode == 0, done.stderr
    assert run.rows() == ["1", "2", "3"]
    assert "Generation 2 goes on at epoch 3" in done.stderr
    status = trainwarden(home, "status", "night").stdout
    assert "finished" in status
    assert "only observes" in status


@pytest.mark.parametrize("runs", [2, NAMED_MAX + 2])
def test_where_several_died_a_person_names_one(home: Path, runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINWARDEN_HOME", str(home))
    for number in range(runs):
        folder = run_folder(f"night-{number}")
        folder.create()
        (folder.vault / "copy.pt").write_bytes(b"")
        write(folder.spec, RunSpec(run=f"night-{number}", argv=PLAIN_TRAINING, cwd="/", created_s=0.0, act=True))
        write(folder.ended, RunOver(how=RunOutcome.FAILED, detail="", code=1, ended_s=time.time()))
        os.utime(folder.root, (number, number))
    said = says_one_sentence(trainwarden(home, "resume"), 2)
    newest = ", ".join(f"night-{number}" for number in reversed(range(max(0, runs - NAMED_MAX), runs)))
    more = " and 2 more" if runs > NAMED_MAX else ""
    assert said == (
        f"trainwarden: resume: {runs} runs died or failed, the newest first: {newest}{more}. Name the one to resume\n"
    )


def test_a_run_on_hold_is_resumed_once_its_cause_is_removed(home: Path, checkpoints: Path, tmp_path: Path) -> None:
    run = NightRun(home, checkpoints, *EPOCHS, "--batch-s", "0.1")
    generation = run.until_generation(1)
    until_epoch(run, 1)
    weights = run.save_dir / "weights"
    weights.rename(tmp_path / "weights")
    weights.symlink_to(tmp_path / "weights")
    os.kill(generation.pid, signal.SIGKILL)
    assert run.wait() == 75, run.shown
    assert "leads out of" in run.shown
    weights.unlink()
    (tmp_path / "weights").rename(weights)
    held = read(run.folder.plan(2), Plan)
    done = trainwarden(home, "resume", "night")
    assert done.returncode == 0, done.stderr
    assert run.rows() == ["1", "2", "3"]
    assert read(run.folder.plan(2), Plan).id != held.id, "the plan is made for the state of now"
