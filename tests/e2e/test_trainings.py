"""Several trainings in one script under `trainwarden run`: each is watched, counted and listed by itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.night_run import Daemon, Supervised, fresh_home, trainwarden
from tests.harness.supervisor import eventually
from trainer_hooks.wire.document_io import read
from trainer_hooks.wire.run_documents import TrainingClaim

RUN = "folds"
BATCHES = 120
BAD_FROM = 70  # batches of fold 2 from here on are not finite
LOOPS = """
import subprocess, sys, time
import torch
from trainer_hooks.integrations.plain import watch

BATCHES, BAD_FROM = {batches}, {bad_from}

def fold(number, pause_s):
    torch.manual_seed(number)
    model = torch.nn.Linear(8, 1)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    loop = watch(model, optimizer, epochs=1, batches_per_epoch=BATCHES, settings={{"fold": number}})
    for batch in range(BATCHES):
        x = torch.randn(4, 8)
        if number == 2 and batch >= BAD_FROM:
            x[0] = float("nan")
        loss = model(x).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        time.sleep(pause_s)
        loop.batch(loss, epoch=1)
    loop.end()
    left = len(getattr(optimizer, "_optimizer_step_pre_hooks", ())) + ("step" in vars(optimizer))
    print(f"FOLD {{number}} hooks left: {{left}}", flush=True)

if len(sys.argv) > 2:
    fold(int(sys.argv[1]), float(sys.argv[2]))
else:
    for number in (1, 2):
        fold(number, float(sys.argv[1]))
    subprocess.run([sys.executable, __file__, "3", sys.argv[1]], check=True)
"""
CHILDREN = """
import subprocess, sys, time
from pathlib import Path
from ultralytics import YOLO
import torch

arguments, once = {arguments!r}, Path({once!r})

def child(fold):
    model, batches = YOLO({model!r}), [0]
    def poison(trainer):
        batches[0] += 1
        if fold == 1 and {poisoned_at} <= batches[0] < {poisoned_at} + 8:
            time.sleep(0.5)  # as long as real batches take: an order needs a second or two
        if fold == 1 and batches[0] == {poisoned_at} and not once.exists():
            once.write_text("")
            with torch.no_grad():
                next(trainer.model.parameters()).view(-1)[0] = float("nan")
    model.add_callback("on_train_batch_start", poison)
    model.train(**arguments, name=f"fold{{fold}}")

if len(sys.argv) > 1:
    child(int(sys.argv[1]))
else:
    for fold in (1, 2):
        done = subprocess.run([sys.executable, __file__, str(fold)])
        print(f"FOLD {{fold}} exit {{done.returncode}}", flush=True)
"""


def loops(home: Path, pause_s: float) -> Supervised:
    """Two folds in one process and a third in a child, observed only; the second one is full of NaN."""
    script = home / "folds.py"
    script.write_text(LOOPS.format(batches=BATCHES, bad_from=BAD_FROM))
    argv = [sys.executable, str(script), str(pause_s)]
    return Supervised(home, argv, run=RUN, options=["--observe"])


def detail(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(trainwarden(home, "status", RUN, "--json").stdout)
    return found


def counted(home: Path) -> list[tuple[int, str, int, int]]:
    """Number, state, batches and non-finite batches of each training."""
    return [(one["number"], one["state"], one["batches"], one["nonfinite"]) for one in detail(home)["trainings"]]


ALL_THREE = [(1, "finished", BATCHES, 0), (2, "finished", BATCHES, BATCHES - BAD_FROM), (3, "finished", BATCHES, 0)]


@pytest.fixture(scope="module")
def watched() -> Iterator[Supervised]:
    """The three folds, after their end."""
    with fresh_home() as home:
        run = loops(home, 0.002)
        assert run.wait() == 0, run.shown
        yield run


def test_every_training_is_counted_by_itself_and_the_run_has_the_sums(watched: Supervised) -> None:
    assert counted(watched.home) == ALL_THREE
    summary = detail(watched.home)["summary"]
    assert (summary["state"], summary["batches"], summary["nonfinite"]) == ("finished", 3 * BATCHES, BATCHES - BAD_FROM)
    metrics = Daemon(watched.home).metrics()
    assert f'trainwarden_batches_total{{run="{RUN}"}} {3 * BATCHES}.0' in metrics
    assert f'trainwarden_nonfinite_batches_total{{kind="any",run="{RUN}"}} {BATCHES - BAD_FROM}.0' in metrics
    assert f"{BATCHES - BAD_FROM} non-finite of {3 * BATCHES} batches in all" in watched.shown


def test_a_child_process_is_a_training_of_its_own(watched: Supervised) -> None:
    claims = [read(path, TrainingClaim) for _, path in sorted(watched.folder.claimed().items())]
    assert [(claim.number, claim.position) for claim in claims] == [(1, 1), (2, 2), (3, 1)]
    assert claims[0].pid == claims[1].pid == claims[2].parent_pid


def test_nothing_is_left_on_the_optimizers(watched: Supervised) -> None:
    assert [line for line in watched.shown.splitlines() if line.startswith("FOLD")] == [
        f"FOLD {number} hooks left: 0" for number in (1, 2, 3)
    ]


def test_status_and_report_list_the_trainings(watched: Supervised) -> None:
    rows = [line.split() for line in trainwarden(watched.home, "status", RUN).stdout.splitlines()]
    bad = str(BATCHES - BAD_FROM)
    assert ["2", "finished", "1/1", str(BATCHES), bad, "1"] in rows
    assert ["3", "finished", "1/1", str(BATCHES), "0", "0"] in rows
    report = trainwarden(watched.home, "report", RUN).stdout
    assert f"| 2 | finished | 1 | {BATCHES} | {bad} |" in report
    of_the_first = trainwarden(watched.home, "report", RUN, "--training", "1").stdout
    assert f"No problem was found in {BATCHES} batches of training 1. 1 incident in training 2." in of_the_first


def test_a_daemon_killed_in_the_middle_of_the_second_training_loses_none(home: Path) -> None:
    run = loops(home, 0.03)
    daemon = Daemon(home)
    run.until_says("training 2 started")
    assert daemon.kill(), "the fault did not fire"
    assert run.wait() == 0, run.shown
    assert "The daemon is back" in run.shown
    assert eventually("every count", lambda: (found := counted(home)) == ALL_THREE and found)
    assert [one["incidents"] for one in detail(home)["trainings"]] == [0, 1, 0]
    assert run.shown.count("training 2 started") == 1


@pytest.mark.training
@pytest.mark.filterwarnings("default")
def test_the_rollback_of_one_child_refuses_no_other_and_resumes_its_own(
    home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One process a fold, the advice of Ultralytics against leaks. The plan of the first is no matter of the second."""
    pytest.importorskip("ultralytics")
    from tests.harness.yolo import BATCH, go_offline, make_lab

    go_offline(tmp_path_factory.mktemp("yolo-config"))
    lab = make_lab(tmp_path_factory.mktemp("lab"), images=10 * BATCH)
    arguments = lab.arguments(home, epochs=5)  # the third is the bad one; an order takes a second
    del arguments["name"]
    script = home / "children.py"
    once, at = home / "once", 2 * lab.batches + 3
    script.write_text(CHILDREN.format(arguments=arguments, once=str(once), model=str(lab.model), poisoned_at=at))
    run = Supervised(home, [sys.executable, str(script)], run=RUN)
    assert run.wait() == 0, run.shown
    assert once.exists(), "the fault did not fire"
    assert "rolled back: generation 2 starts at epoch" in run.shown, run.shown
    exits = [line for line in run.shown.splitlines() if line.startswith("FOLD")]
    assert exits[-2:] == ["FOLD 1 exit 0", "FOLD 2 exit 0"]
    assert "not started" not in run.shown
    first, second = detail(home)["trainings"]
    assert (first["state"], second["state"]) == ("finished", "finished")
    assert first["nonfinite"] > 0
    assert second["nonfinite"] == 0
    assert second["batches"] >= 5 * lab.batches  # and as many as it had trained when the script was started again
    shown = json.loads(trainwarden(home, "checkpoints", RUN, "--json").stdout)
    assert {line["training"] for line in shown} == {1, 2}
    assert trainwarden(home, "checkpoints", RUN).stdout.split()[0] == "training"
