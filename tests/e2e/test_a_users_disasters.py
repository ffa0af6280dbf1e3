"""A user's script through a frozen machine, a hang and a night, as they came: it ends with the model of a healthy one.

Each comes in an epoch of which a clean snapshot is there. After the first two the training has the weights of one that
nothing happened to, bit for bit, at the end of every epoch. After the night the rest of its epoch is drawn anew, so
from there on the figures are compared with those of healthy trainings.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.harness.night_run import Daemon, Supervised, fresh_home, trainwarden
from tests.harness.users_training import Ended, assert_same_weights, assert_usable, skipped_by, train_alone
from trainer_hooks.wire.document_io import read, write
from trainer_hooks.wire.plan import Plan
from trainer_hooks.wire.run_documents import Generation

pytestmark = [
    pytest.mark.training,
    pytest.mark.filterwarnings("default"),
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        os.environ.get("TEST_USERS_NIGHT") != "1", reason="two minutes: `make test-user` and `make test-matrix` run it"
    ),
]

RUN = "user"
PATIENCE_S = 300.0  # of a machine under load: each step takes seconds
BATCHES, EPOCHS = 20, 6
SETTINGS = {"epochs": EPOCHS, "imgsz": 64, "lr0": 0.01, "momentum": 0.9, "warmup_epochs": 1, "mosaic": 0.0}
BAD = (EPOCHS, 4)  # epoch and batch of one more bad batch, which harms nothing
SEEDS = (0, 1)  # of the healthy trainings; the first is that of the other one too
POLICY = """\
version: 1
snapshots: {every_s: 1}
rollback: {grace_s: 1, healthy_batches: 3}
watch: {batches_min: 10, onset_samples: false}
detectors: {hang: {floor_s: 5, intervals: 2, act_floor_s: 10, act_intervals: 2}}
"""


class Disasters:
    """One run of the script, with all that happened to it."""

    def __init__(self, home: Path, argv: list[str]) -> None:
        self.home, self._fired = home, home / "fired"
        self.run = Supervised(home, argv, run=RUN, policy=POLICY, prefix=("nohup",))
        self.run.until("epoch 2", lambda: self.run.says("epoch 2 starts"), PATIENCE_S)
        self._happens("frozen", 2, generation=1)
        self._reset_the_machine()
        self.run.resume()
        self._happens("hang", 2, generation=2)
        self.run.until("generation 3", lambda: self.run.folder.last_generation() == 3, PATIENCE_S)
        self._happens("night", self.epoch_of("hang") + 1, generation=3)
        self.over = Ended(home, self.run.wait(timeout_s=PATIENCE_S), self.run.shown)

    def epoch_of(self, fault: str) -> int:
        """In which it came; 0: it did not."""
        lines = self._fired.read_text().splitlines() if self._fired.exists() else []
        return next((int(line.split()[1]) for line in lines if line.startswith(fault)), 0)

    def report(self, incident: int) -> str:
        return trainwarden(self.home, "report", RUN, "--incident", str(incident)).stdout

    def plan(self, generation: int) -> Plan:
        return read(self.run.folder.plan(generation), Plan)

    def _happens(self, fault: str, epoch: int, generation: int) -> None:
        """As soon as a clean snapshot within this epoch, or within a later one, is the newest state it saved.

        One of an earlier generation will not do: a first batch may take five minutes before anything is done about it.
        """
        slow = self.home / "slow"  # it sleeps, so that snapshots come within its short epochs; that changes no number
        slow.touch()

        def fired() -> bool:
            newest = max(self._states(generation), key=lambda line: line["saved_s"], default=None)
            if newest and newest["verdict"] == "clean" and newest["extra_batches"] and newest["epoch"] + 1 >= epoch:
                (self.home / "now").write_text(f"{fault} {newest['epoch'] + 1}")
            return bool(self.epoch_of(fault))

        self.run.until(fault, fired, PATIENCE_S)
        slow.unlink()

    def _states(self, generation: int) -> list[dict[str, Any]]:
        """Saved ones of it."""
        shown = trainwarden(self.home, "checkpoints", RUN, "--json")
        lines: list[dict[str, Any]] = json.loads(shown.stdout) if shown.returncode == 0 else []
        return [line for line in lines if line["generation"] == generation]

    def _reset_the_machine(self) -> None:
        """It stands still, and somebody presses its button: every process is gone, and so is /run."""
        path = self.run.folder.generation(1)
        generation, daemon = read(path, Generation), Daemon(self.home)
        self.run.kill_supervisor()
        assert daemon.kill(), "the fault did not fire"
        os.kill(generation.pid, signal.SIGKILL)
        shutil.rmtree(self.home / "run")
        write(path, msgspec.structs.replace(generation, boot_id="an earlier one"))


@dataclass(frozen=True)
class Trained:
    """All trainings, over."""

    healthy: list[Ended]  # by seed
    hit: Disasters


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """Each from the last.pt of the same training that died, two at a time."""
    pytest.importorskip("ultralytics")
    from tests.harness.users_script import first_training, go_on_from, write_script
    from tests.harness.yolo import BATCH, go_offline, make_lab

    go_offline(tmp_path_factory.mktemp("yolo-config"))
    lab = make_lab(tmp_path_factory.mktemp("lab"), images=BATCHES * BATCH, val=64)
    runs = first_training(tmp_path_factory.mktemp("first"), lab, **SETTINGS)
    with ExitStack() as stack:

        def prepared(seed: int, bad: set[tuple[int, int]]) -> tuple[Path, list[str]]:
            home = stack.enter_context(fresh_home())
            go_on_from(runs, home)
            return home, write_script(home, lab, bad, seed=seed, **SETTINGS)

        first, *others = [prepared(SEEDS[0], {BAD}), *(prepared(seed, set()) for seed in SEEDS)]
        with ThreadPoolExecutor(2) as pool:
            hit = pool.submit(Disasters, *first)
            healthy = [pool.submit(train_alone, *place) for place in others]
            yield Trained([each.result() for each in healthy], hit.result())


@pytest.fixture(autouse=True)
def own_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens the script's checkpoints needs a class of this name in the main module."""
    monkeypatch.setattr(sys.modules["__main__"], "OwnForward", type("OwnForward", (), {}), raising=False)


def test_it_survives_all_three_and_finishes(trained: Trained) -> None:
    over = trained.hit.over
    assert over.code == 0, over.shown
    fired = [line.split()[0] for line in over.fired]
    assert fired == ["frozen", "hang", "night", str(EPOCHS)], "a fault did not fire"
    assert trained.hit.run.folder.last_generation() == 3, "the night is gone back from within the process"
    assert over.shown.count("rolled back in its process: gone back to batch") == 1, over.shown
    assert "wait_for_the_card" in over.shown, "it shows where it hangs"
    assert [row[0] for row in over.figures[1:]] == [str(epoch + 1) for epoch in range(EPOCHS)]
    assert_usable(over)


def test_up_to_the_night_it_has_the_weights_and_the_figures_of_a_healthy_training_to_the_last_bit(
    trained: Trained,
) -> None:
    hit, healthy = trained.hit, trained.healthy[0]
    before = hit.epoch_of("night") - 1
    assert before >= hit.epoch_of("hang") >= hit.epoch_of("frozen") >= 2, "both are behind it"
    for epoch in range(before):
        assert_same_weights(hit.over, healthy, f"epoch{epoch}.pt")
    assert hit.over.figures[: before + 1] == healthy.figures[: before + 1]


def test_after_the_night_it_ends_as_well_as_healthy_trainings(trained: Trained) -> None:
    """So short a training differs by up to 9 % between two healthy seeds."""
    over, healthy = trained.hit.over, trained.healthy
    assert {each.code for each in healthy} == {0}
    shown = [(each.last_loss, each.best_map) for each in (over, *healthy)]
    print(f"last loss and best mAP50: {shown[0]}; healthy {shown[1:]}")
    assert over.last_loss < 1.15 * max(each.last_loss for each in healthy), shown
    assert over.best_map > 0.5 * min(each.best_map for each in healthy), shown


def test_the_steps_that_it_left_out_are_counted_as_its_own(trained: Trained) -> None:
    over = trained.hit.over
    said = over.shown.count(": step skipped")
    assert said >= 2, "the night, and the bad batch of the last epoch"
    by = skipped_by(over.home)
    assert by.pop("script") == said
    assert set(by.values()) == {0.0}


def test_the_report_says_of_each_what_was_redone_and_what_it_would_have_been(trained: Trained) -> None:
    hit = trained.hit
    for incident in (1, 2, 3):
        report = hit.report(incident)
        redone = re.search(r"(?:thrown away: (\d+) batch|no trained batch was thrown away)", report)
        instead = re.search(r"Without snapshots it would have been (\d+) batches, ", report)
        assert redone, report
        assert instead, report
        assert int(redone[1] or 0) < int(instead[1]) <= BATCHES, report
    assert "The machine was started again, so the training died" in hit.report(1)
    for generation in (2, 3):
        assert hit.plan(generation).snapshot is not None, "a new start within the epoch"
