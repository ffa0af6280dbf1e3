"""A real YOLO training whose weights are ruined goes back to a snapshot within its process: nothing is trained twice.

Three folds in one script: what the folds before have trained is not trained again, and the script does not begin anew.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.night_run import Supervised, fresh_home, trainwarden

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]

FOLDS, EPOCHS, BATCHES = 3, 3, 24
POLICY = """
version: 1
snapshots: {every_s: 1}
rollback: {healthy_batches: 3}
watch: {batches_min: 20, onset_samples: false}
"""
SCRIPT = """
from pathlib import Path
import time
import torch
from ultralytics import YOLO

ARGUMENTS, MODEL, FIRED, FOLDS = {arguments!r}, {model!r}, Path({fired!r}), {folds}
begun = []
place = [0, -1]  # epoch and batch, from 0

def epoch(trainer):
    place[:] = [trainer.epoch, -1]

def batch(trainer):
    place[1] += 1
    time.sleep(0.03)
    if len(begun) == FOLDS and place == [1, 12] and not FIRED.exists():
        FIRED.write_text(".")
        with torch.no_grad():
            for parameter in trainer.model.parameters():
                parameter.fill_(float("nan"))

print("SCRIPT BEGINS", flush=True)
for fold in range(FOLDS):
    begun.append(fold)
    model = YOLO(MODEL)
    model.add_callback("on_train_epoch_start", epoch)
    model.add_callback("on_train_batch_end", batch)
    model.train(**{{**ARGUMENTS, "name": f"fold{{fold}}"}})
print("FOLDS", begun, flush=True)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    pytest.importorskip("ultralytics")
    from tests.harness.yolo import BATCH, go_offline, make_lab

    go_offline(tmp_path_factory.mktemp("yolo-config"))
    lab = make_lab(tmp_path_factory.mktemp("lab"), images=BATCHES * BATCH)
    with fresh_home() as home:
        script = home / "script.py"
        arguments = lab.arguments(home / "out", epochs=EPOCHS)
        text = SCRIPT.format(arguments=arguments, model=str(lab.model), fired=str(home / "fired"), folds=FOLDS)
        script.write_text(text)
        started = Supervised(home, [sys.executable, str(script)], run="folds", policy=POLICY)
        assert started.wait(timeout_s=240) == 0, started.shown
        yield started


def asked(run: Supervised, *command: str) -> Any:
    return json.loads(trainwarden(run.home, *command, run.run, "--json").stdout)


def test_the_script_begins_once_and_each_fold_is_trained_once(run: Supervised) -> None:
    assert (run.home / "fired").exists(), "the fault did not fire"
    assert run.shown.count("SCRIPT BEGINS") == 1, run.shown
    assert "FOLDS [0, 1, 2]" in run.shown
    assert "rolled back in its process: gone back to batch" in run.shown, run.shown
    trainings = asked(run, "status")["trainings"]
    batches = [each["batches"] for each in trainings]
    assert batches[:2] == [EPOCHS * BATCHES] * 2
    assert EPOCHS * BATCHES < batches[2] < 2 * EPOCHS * BATCHES, "the last fold alone trains some batches again"
    for fold in range(FOLDS):
        rows = (run.home / "out" / f"fold{fold}" / "results.csv").read_text().splitlines()
        assert [row.split(",")[0].strip() for row in rows[1:]] == [str(epoch + 1) for epoch in range(EPOCHS)]


def test_what_is_left_is_sound(run: Supervised) -> None:
    lines = [line for line in asked(run, "checkpoints") if line["training"] == FOLDS and not line["extra_batches"]]
    assert lines
    assert {line["verdict"] for line in lines[-2:]} <= {"clean", "suspect"}, lines
    found = Path(run.home / "out" / f"fold{FOLDS - 1}" / "weights" / "last.pt")
    assert "sound" in trainwarden(run.home, "verify", str(found)).stdout


def test_the_report_says_what_it_cost_and_what_it_would_have_cost(run: Supervised) -> None:
    report = trainwarden(run.home, "report", run.run).stdout
    assert re.search(r"rolled back to batch \d+ of epoch [12]", report), report
    assert re.search(r"Without snapshots it would have been \d+ batches", report), report
    assert re.search(r"The return is proven: the first \d+ losses are at the level that the loss had", report), report
