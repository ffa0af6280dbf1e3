"""A user's script through its night, its hang and its power cut, in turn: it ends with the model of a healthy training.

Each comes when the test asks for it, in an epoch of which a clean snapshot is there. After a hang and a power cut the
training ends with the weights of one that nothing happened to, bit for bit. After the night the rest of the epoch is
drawn anew, so there the figures are compared with those of healthy trainings.
"""

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
from typing import Any

import msgspec
import pytest

from tests.harness.night_run import CONSOLE, ROOT, Daemon, Supervised, environment_of_home, fresh_home, trainwarden
from tests.harness.users_training import Ended, assert_same_weights, skipped_by, train_alone
from trainer_hooks.wire.runfolder import Generation, read, write

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]

RUN = "user"
BATCHES, EPOCHS = 20, 8
SETTINGS = {"epochs": EPOCHS, "imgsz": 64, "lr0": 0.01, "momentum": 0.9, "warmup_epochs": 1, "mosaic": 0.0}
SEEDS = (0, 1, 2)
POLICY = """\
version: 1
snapshots: {every_s: 1}
rollback: {grace_s: 1, healthy_batches: 3}
watch: {batches_min: 20, onset_samples: false}
detectors: {hang: {floor_s: 3, intervals: 2, act_floor_s: 6, act_intervals: 2}}
"""
WITHOUT_A_NIGHT, ALL = ("hang", "frozen"), ("night", "hang", "frozen")


class Disasters:
    """One run of the script, to which each of `faults` happens."""

    def __init__(self, home: Path, argv: list[str], faults: tuple[str, ...]) -> None:
        self.home, self.fired = home, home / "fired"
        (home / "slow").touch()  # time for snapshots; a sleep changes no number
        self.run = Supervised(home, ["nohup", *argv], run=RUN, policy=POLICY)
        self.reports: dict[str, str] = {}
        for fault in faults:
            self._happens(fault)
            getattr(self, f"_{fault}")()
            self.reports[fault] = trainwarden(home, "report", RUN).stdout
        self.code = self._resumed()

    def _happens(self, fault: str) -> None:
        """In an epoch of which a clean snapshot is the newest state, and which is not the first."""

        def fired() -> bool:
            lines = self._states()
            newest = max(lines, key=lambda line: line["saved_s"], default=None)
            if newest and newest["verdict"] == "clean" and newest["extra_batches"] and newest["epoch"]:
                (self.home / "now").write_text(f"{fault} {newest['epoch'] + 1}")
            return self.fired.exists() and fault in self.fired.read_text()

        self.run.until(fault, fired, 120.0)

    def _states(self) -> list[dict[str, Any]]:
        """Saved ones of this generation."""
        shown = trainwarden(self.home, "checkpoints", RUN, "--json")
        lines: list[dict[str, Any]] = json.loads(shown.stdout) if shown.returncode == 0 else []
        return [line for line in lines if line["generation"] == self.run.folder.last_generation()]

    def _night(self) -> None:
        self.run.until_says("rolled back in its process: gone back to")

    def _hang(self) -> None:
        self.run.until_generation(2)

    def _frozen(self) -> None:
        """The machine stands still, and somebody presses its button: everything is gone, and so is /run."""
        path = self.run.folder.generation(2)
        generation, daemon = read(path, Generation), Daemon(self.home)
        self.run.kill_supervisor()
        assert daemon.kill(), "the fault did not fire"
        os.killpg(generation.pid, signal.SIGKILL)
        shutil.rmtree(self.home / "run")
        write(path, msgspec.structs.replace(generation, boot_id="an earlier one"))

    def _resumed(self) -> int:
        """Go on after the reboot, to the end: the exit code."""
        (self.home / "slow").unlink()
        with self.run.log.open("ab") as output:
            done = subprocess.run(
                [*CONSOLE, "resume", "--port", "0"], env=environment_of_home(self.home), cwd=ROOT,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False, timeout=240,
            )  # fmt: skip
        return done.returncode


@pytest.fixture(autouse=True)
def own_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens the script's checkpoints needs a class of this name in the main module."""
    monkeypatch.setattr(sys.modules["__main__"], "OwnForward", type("OwnForward", (), {}), raising=False)


@dataclass(frozen=True)
class Trained:
    """All trainings, over."""

    healthy: list[Ended]  # by seed
    interrupted: Disasters  # by a hang and a power cut
    all: Disasters


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """Each from the last.pt of the same training that died, two at a time."""
    pytest.importorskip("ultralytics")
    from tests.harness.users_script import first_training, go_on_from, write_script
    from tests.harness.yolo import BATCH, go_offline, make_lab

    go_offline(tmp_path_factory.mktemp("yolo-config"))
    lab = make_lab(tmp_path_factory.mktemp("lab"), images=BATCHES * BATCH, val=16)
    runs = first_training(tmp_path_factory.mktemp("first"), lab, **SETTINGS)
    with ExitStack() as stack:

        def prepared(seed: int) -> tuple[Path, list[str]]:
            home = stack.enter_context(fresh_home())
            go_on_from(runs, home)
            return home, write_script(home, lab, set(), seed=seed, **SETTINGS)

        places = [prepared(seed) for seed in (0, 0, *SEEDS)]
        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(Disasters, *places.pop(0), faults) for faults in (ALL, WITHOUT_A_NIGHT)]
            healthy = [pool.submit(train_alone, *place) for place in places]
            yield Trained([each.result() for each in healthy], both[1].result(), both[0].result())


def test_it(trained: Trained) -> None:
    for one in trained.healthy:
        print("HEALTHY", one.code, one.last)
    for each in (trained.interrupted, trained.all):
        print("=====", each.code, each.run.shown)
        print(each.fired.read_text())
        for name, report in each.reports.items():
            print("-----", name)
            print(report)
        print(trainwarden(each.home, "report", RUN).stdout)
        for n in (1, 2, 3):
            print(trainwarden(each.home, "report", RUN, "--incident", str(n)).stdout)
        print(trainwarden(each.home, "checkpoints", RUN).stdout)
        over = Ended(each.home, each.code, each.run.shown)
        print(over.last, skipped_by(each.home), over.shown.count("step skipped"))
    assert_same_weights(Ended(trained.interrupted.home, 0, ""), trained.healthy[0])
