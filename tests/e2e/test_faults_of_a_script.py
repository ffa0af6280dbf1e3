"""Faults that lie in a user's own script or data, in real YOLO trainings under the default policy.

An image that breaks the loss once mosaic is closed; a step of the script's own (SAM); a rate that jumps for five steps.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.harness.night_run import Supervised, fresh_home, trainwarden

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]

ONE_IMAGE, SAM, RATE = "one-image", "sam", "rate"
BATCHES = 20  # of an epoch
HEAD = """
from pathlib import Path
import torch
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel

ARGUMENTS, MODEL, FIRED = {arguments!r}, {model!r}, Path({fired!r})
place = [0, -1]  # epoch and batch, from 0

def fire():
    with FIRED.open("a") as file:
        file.write(".")

def place_epoch(trainer):
    place[:] = [trainer.epoch, -1]

def place_batch(trainer):
    place[1] += 1

def train(trainer=None):
    model = YOLO(MODEL)
    model.add_callback("on_train_epoch_start", place_epoch)
    model.add_callback("on_train_batch_start", place_batch)
    if trainer is None:
        model.add_callback("on_pretrain_routine_end", set_up)
    model.train(trainer=trainer, **ARGUMENTS)
"""
SCRIPTS = {
    ONE_IMAGE: """
class Broken(DetectionModel):
    def loss(self, batch, preds=None):
        loss, parts = super().loss(batch, preds)
        if self.training and place[0] >= 2 and any(name == BAD for name in batch["im_file"]):
            fire()
            loss, parts = loss * float("nan"), {name: value * float("nan") for name, value in parts.items()}
        return loss, parts

class Trainer(DetectionTrainer):
    def get_model(self, cfg=None, weights=None, verbose=True):
        return Broken(cfg, nc=self.data["nc"], verbose=False)

BAD = sorted(str(each) for each in (Path(ARGUMENTS["data"]).parent / "images" / "train").iterdir())[7]
train(Trainer)
""",
    SAM: """
class Trainer(DetectionTrainer):
    def preprocess_batch(self, batch):
        self.given = super().preprocess_batch(batch)
        high = max(group["lr"] for group in self.optimizer.param_groups) > 0.006 * self.lf(2)
        if place[0] == 2 and place[1] % 3 == 0 and high:
            fire()
            self.given["img"][0, 0, 0, 0] = float("nan")
        return self.given

    def optimizer_step(self):
        with torch.no_grad():
            moved = [each for each in self.model.parameters() if each.grad is not None]
            norm = torch.stack([each.grad.norm() for each in moved]).norm() + 1e-12
            steps = [each.grad * (0.05 / norm) for each in moved]
            for each, step in zip(moved, steps):
                each.add_(step)
        self.optimizer.zero_grad()
        self.model(self.given)[0].sum().backward()
        with torch.no_grad():
            for each, step in zip(moved, steps):
                each.sub_(step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema:
            self.ema.update(self.model)

train(Trainer)
""",
    RATE: """
def set_up(trainer):
    step = trainer.optimizer_step
    def raised():
        if place[0] == 2 and 5 <= place[1] < 10 and not (FIRED.exists() and len(FIRED.read_text()) == 5):
            fire()
            for group in trainer.optimizer.param_groups:
                group["lr"] *= 200
        step()
    trainer.optimizer_step = raised

train()
""",
}


class Ended:
    """One of the trainings, after its end."""

    def __init__(self, run: Supervised) -> None:
        self.run, self.code = run, run.wait()
        self.fired = len((run.home / "fired").read_text())

    def json(self, *command: str) -> Any:
        return json.loads(trainwarden(self.run.home, *command, self.run.run, "--json").stdout)

    @property
    def training(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json("status")["trainings"][0]
        return found

    def ends_well(self) -> bool:
        """The last files can be trusted, the very last one too where the training finished healthy."""
        lines = sorted(self.json("checkpoints"), key=lambda line: line["saved_s"])
        verdicts = [line["verdict"] for line in lines[-3:]]
        return "clean" in verdicts and set(verdicts) <= {"clean", "suspect"}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ended]]:
    """The three trainings, which run at the same time."""
    pytest.importorskip("ultralytics")
    from tests.harness.yolo import BATCH, go_offline, make_lab

    go_offline(tmp_path_factory.mktemp("yolo-config"))
    lab = make_lab(tmp_path_factory.mktemp("lab"), images=BATCHES * BATCH)
    with ExitStack() as stack:
        runs = {name: _start(name, stack.enter_context(fresh_home()), lab) for name in SCRIPTS}
        yield {name: Ended(run) for name, run in runs.items()}


def _start(name: str, home: Path, lab: Any) -> Supervised:
    epochs = {"epochs": 10, "close_mosaic": 8} if name == ONE_IMAGE else {"epochs": 6}
    arguments = lab.arguments(home / "out", **epochs)
    script = home / "script.py"
    head = HEAD.format(arguments=arguments, model=str(lab.model), fired=str(home / "fired"))
    script.write_text(head + SCRIPTS[name])
    return Supervised(home, [sys.executable, str(script)], run=name, policy="version: 1\n")


def test_one_bad_image_is_named_and_costs_no_epoch(ended: dict[str, Ended]) -> None:
    one = ended[ONE_IMAGE]
    assert one.code == 0, one.run.shown
    assert one.fired >= 6, "the fault did not fire"
    assert one.training["nonfinite"] == one.fired
    assert "rolled back" not in one.run.shown
    assert len(one.json("status")["trainings"]) == 1
    assert "/images/train/" in one.run.shown, one.run.shown
    assert one.ends_well(), trainwarden(one.run.home, "checkpoints", one.run.run).stdout


def test_a_step_of_the_scripts_own_is_kept_from_what_its_bad_batches_would_do(ended: dict[str, Ended]) -> None:
    one = ended[SAM]
    assert one.code == 0, one.run.shown
    assert one.fired >= 3, "the fault did not fire"
    assert "given up" not in one.run.shown
    assert one.ends_well(), trainwarden(one.run.home, "checkpoints", one.run.run).stdout


def test_a_rate_that_jumps_is_the_cause_and_the_run_goes_back_once(ended: dict[str, Ended]) -> None:
    one = ended[RATE]
    assert one.code == 0, one.run.shown
    assert one.fired == 5, "the fault did not fire"
    assert len(re.findall("rolled back(: generation| in its process)", one.run.shown)) == 1, one.run.shown
    assert re.search("Likely cause: .*learning rate", one.run.shown), one.run.shown
    assert one.ends_well(), trainwarden(one.run.home, "checkpoints", one.run.run).stdout
