"""Real YOLO trainings that die: they go on from the checkpoint before, or end with their own exit code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.night_run import CONSOLE, ROOT, Daemon, Supervised, environment_of_home, fresh_home, trainwarden
from tests.harness.supervisor import eventually
from trainer_hooks.wire.document_io import read
from trainer_hooks.wire.plan import Plan

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]

EPOCHS = 3
BATCHES = 12  # of an epoch
SCRIPT = """
import json, os, signal, sys, time
from pathlib import Path
from ultralytics import YOLO

given = json.loads(sys.argv[1])
out = Path(given["arguments"]["project"])

def at_start(trainer):
    print("SECRET", os.environ.get("MY_API_KEY"), "PLAIN", os.environ.get("MY_SETTING"), flush=True)

def at_batch(trainer):
    trainer.seen = getattr(trainer, "seen", -1) + 1
    place, mark = [trainer.epoch + 1, trainer.seen % given["batches"]], out / "died"
    if place == given["at"] and given["how"] == "kill" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if place == given["at"] and given["how"] == "wait" and not mark.exists():
        mark.touch()
        time.sleep(600)
    if place == given["at"] and given["how"] == "raise":
        raise ValueError("a box of no size")

def at_epoch_end(trainer):
    with (out / "finished.txt").open("a") as file:
        file.write(f"{trainer.epoch + 1}\\n")

model = YOLO(given["model"])
model.add_callback("on_train_start", at_start)
model.add_callback("on_train_batch_start", at_batch)
model.add_callback("on_train_epoch_end", at_epoch_end)
model.train(**given["arguments"])
"""
# Without snapshots: the script counts its batches from the start of its process, which within an epoch would be wrong.
POLICY = "version: 1\nrestart: {batches_min: 12}\nsnapshots: {every_s: 0}\n"


@dataclass(frozen=True)
class Over:
    """A run that is over."""

    code: int
    shown: str
    home: Path
    folder: Path
    finished: list[str]  # epochs, in the order in which they ended

    @property
    def rows(self) -> list[str]:
        rows = (self.folder / "run" / "results.csv").read_text().split()
        return [row.split(",")[0] for row in rows[1:]]


@dataclass(frozen=True)
class Lab:
    """What the trainings share."""

    script: Path
    model: str
    arguments: dict[str, object]

    def run(self, home: Path, how: str, at: tuple[int, int], **more: str) -> Supervised:
        folder = home / "training"
        folder.mkdir()
        arguments = self.arguments | {"project": str(folder), "name": "run", "exist_ok": True}
        given = {"how": how, "at": at, "batches": BATCHES, "model": self.model, "arguments": arguments}
        argv = [sys.executable, str(self.script), json.dumps(given)]
        return Supervised(home, argv, run=how, policy=POLICY, cwd=folder, **more)

    def over(self, run: Supervised, code: int) -> Over:
        folder = run.home / "training"
        finished = (folder / "finished.txt").read_text().split()
        return Over(code, run.shown, run.home, folder, finished)

    def killed(self, home: Path) -> Over:
        run = self.run(home, "kill", (3, 5))
        return self.over(run, run.wait())

    def raising(self, home: Path) -> Over:
        run = self.run(home, "raise", (2, 5))
        return self.over(run, run.wait())

    def resumed(self, home: Path) -> Over:
        """Everything is killed in epoch 3, as in a power cut, and the runtime folder is gone."""
        run = self.run(home, "wait", (3, 5), MY_API_KEY="first", MY_SETTING="recorded")
        generation = run.until_generation(1)
        run.until("epoch 3", (home / "training" / "died").exists)
        daemon = Daemon(home)
        run.until("the checkpoint of epoch 2", lambda: "checkpoint of epoch 2: sound" in run.shown)
        run.kill_supervisor()
        os.kill(generation.pid, signal.SIGKILL)
        assert daemon.kill() is not None
        shutil.rmtree(home / "run")
        with run.log.open("ab") as output:
            done = subprocess.run(
                [*CONSOLE, "resume", "--port", "0"],
                env=environment_of_home(home, PYTHONPATH=str(ROOT), MY_API_KEY="second"),
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=180,
            )
        return self.over(run, done.returncode)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Over]]:
    """Three trainings, two at a time."""
    pytest.importorskip("ultralytics")
    from tests.harness.yolo import BATCH, go_offline, make_lab

    go_offline(tmp_path_factory.mktemp("yolo-config"))
    folder = tmp_path_factory.mktemp("lab")
    made = make_lab(folder, images=BATCHES * BATCH)
    script = folder / "train.py"
    script.write_text(SCRIPT)
    lab = Lab(script, str(made.model), made.arguments(Path("unused"), epochs=EPOCHS))
    with ExitStack() as stack:
        homes = [stack.enter_context(fresh_home()) for _ in range(3)]
        with ThreadPoolExecutor(2) as pool:
            begun = [
                pool.submit(train, home)
                for train, home in zip((lab.killed, lab.raising, lab.resumed), homes, strict=True)
            ]
            yield dict(zip(("killed", "raising", "resumed"), [each.result() for each in begun], strict=True))


def test_a_training_that_is_killed_in_epoch_3_goes_on_from_the_checkpoint_of_epoch_2(trained: dict[str, Over]) -> None:
    over = trained["killed"]
    assert (over.folder / "died").exists(), "the fault did not fire"
    assert over.code == 0, over.shown
    assert over.finished == ["1", "2", "3"], over.shown
    assert over.rows == ["1", "2", "3"]
    plan = read(over.home / "runs" / "kill" / "plan-2.json", Plan)
    assert (plan.start_epoch, plan.changes) == (3, ())
    assert "the training was ended by SIGKILL after epoch 3, batch " in over.shown.replace(
        "The training", "the training"
    )
    assert "starting again from the end of epoch 2: its process died (1 try of 3)" in over.shown
    report = (over.home / "runs" / "kill" / "reports" / "1.md").read_text()
    assert "The training was started again from the end of epoch 2" in report
    assert "to train again" in report


def test_a_fault_of_the_script_is_tried_once_more_and_then_ends_the_run_with_its_own_code(
    trained: dict[str, Over],
) -> None:
    over = trained["raising"]
    assert over.code == 1, over.shown
    assert over.finished == ["1"]
    assert over.shown.count("ValueError: a box of no size\n") == 2, "each traceback stands on the terminal"
    assert "died in the same way after the last new start, and had not come further" in over.shown
    assert not (over.home / "runs" / "raise" / "plan-3.json").exists()
    eventually("the state", lambda: "failed" in trainwarden(over.home, "status", "raise").stdout)


def test_after_a_power_cut_a_run_is_resumed_with_its_command_folder_and_environment(trained: dict[str, Over]) -> None:
    over = trained["resumed"]
    assert over.code == 0, over.shown
    assert over.finished == ["1", "2", "3"], over.shown
    assert over.rows == ["1", "2", "3"]
    assert "SECRET first PLAIN recorded" in over.shown
    assert "SECRET second PLAIN recorded" in over.shown, "what looks like a secret is not written down"
    assert b"first" not in (over.home / "runs" / "wait" / "environment.json").read_bytes()
    refused = trainwarden(over.home, "resume", "wait")
    assert (refused.returncode, refused.stdout) == (78, "")
    assert refused.stderr == "trainwarden: run 'wait' has finished, so there is nothing to resume\n"
