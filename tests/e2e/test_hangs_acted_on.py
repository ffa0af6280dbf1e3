"""Real YOLO trainings that stand still under `trainwarden run`: told with stacks, and started again where that helps.

The driver is a stand-in: a card's files in which a read waits. The machine has no such card, so the script of that
training says that it trains on one.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from monitor.daemon.hardware.probe import ENV_DRM
from tests.harness.amd import AmdCard
from tests.harness.night_run import ROOT, Supervised, fresh_home, trainwarden
from tests.harness.real_daemon import DaemonProcess
from trainer_hooks.wire.document_io import read
from trainer_hooks.wire.plan import Plan

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]

EPOCHS, BATCHES = 4, 8
POLICY = """\
version: 1
detectors: {hang: {floor_s: 2, intervals: 2, act_floor_s: %s, act_intervals: 2, start_floor_s: 4, start_times: 1}}
rollback: {grace_s: 1, healthy_batches: 2}
snapshots: {every_s: 0.5}
"""
PAUSE_S = 0.6  # longer than from one snapshot to the next; less than counts as a silence
ACT_S, DRIVER_ACT_S = 4, 24  # the second: a reader of cards counts as hung after 15 s
HEAD = """
import ctypes, os, signal, sys, threading, time
from pathlib import Path
sys.path.insert(0, {root!r})
from trainer_hooks.snapshots import due
from ultralytics import YOLO
due.SHARE_MAX = 1e9  # of a training of seconds
ARGUMENTS, MODEL, FIRED, DRM = {arguments!r}, {model!r}, Path({fired!r}), Path({drm!r})
GENERATION = int(os.environ["TRAINWARDEN_GENERATION"])
WORKERS = 0
place = [0, -1]  # epoch from 1, batch from 0

def fire():
    with FIRED.open("a") as file:
        file.write(str(GENERATION))

def wait_for_a_lock_that_nobody_gives_back():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()

def set_up(trainer):
    trainer.args.workers = WORKERS  # Ultralytics itself takes none on a CPU

def place_epoch(trainer):
    place[:] = [trainer.epoch + 1, -1]

def place_batch(trainer):
    place[1] += 1
    if GENERATION == 1 and place[0] == 3 and place[1] in (1, 2):
        time.sleep({pause_s!r})  # until a snapshot is due
    hang()

def train():
    model = YOLO(MODEL)
    model.add_callback("on_pretrain_routine_start", set_up)
    model.add_callback("on_train_epoch_start", place_epoch)
    model.add_callback("on_train_batch_start", place_batch)
    model.train(**ARGUMENTS)
"""
MIDDLE = "GENERATION == 1 and place == [3, 5]"  # epochs 1 and 2 are saved by then, and proven
SCRIPTS = {
    "loader": """
from torch.utils.data import get_worker_info
from ultralytics.data.dataset import YOLODataset
get, served = YOLODataset.__getitem__, [0]

def run_in_an_endless_loop(dataset, index):
    served[0] += dataset.augment
    if GENERATION == 1 and served[0] == 2 * 64 + 56 and get_worker_info():
        fire()
        while True:
            pass
    return get(dataset, index)

YOLODataset.__getitem__, WORKERS = run_in_an_endless_loop, 1

def hang():
    pass

train()
""",
    "relaunch": """
def call_an_extension_that_never_returns():
    ctypes.PyDLL(None).pause()

def hang():
    if MIDDLE:
        fire()
        call_an_extension_that_never_returns()
    if GENERATION == 2:
        fire()
        wait_for_a_lock_that_nobody_gives_back()

train()
""",
    "driver": """
import msgspec, torch
from tests.harness.amd import AmdCard
from trainer_hooks.integrations.ultralytics import session
torch.version.hip = "5.2.21151"
started = session.training_started
session.training_started = lambda *given: msgspec.structs.replace(started(*given), device="AMD Radeon RX 5600 XT")
busy = DRM / "card0" / "device" / "gpu_busy_percent"

def wait_for_the_driver():
    busy.read_text()

def hang():
    if MIDDLE:
        fire()
        os.mkfifo(busy.with_suffix(".fifo"))
        busy.with_suffix(".fifo").replace(busy)
        wait_for_the_driver()

if GENERATION > 1:
    busy.unlink()
    busy.write_text("0")
train()
""",
    "stopped": """
def hang():
    if MIDDLE:
        fire()
        os.kill(os.getpid(), signal.SIGSTOP)

train()
""",
}
SCRIPTS = {name: text.replace("MIDDLE", MIDDLE) for name, text in SCRIPTS.items()}
STANDS = {  # in the order of the generations
    "loader": ["run_in_an_endless_loop"],
    "relaunch": ["call_an_extension_that_never_returns", "wait_for_a_lock_that_nobody_gives_back"],
    "driver": ["wait_for_the_driver"],
}


class Hung:
    """One of the trainings, after its end."""

    def __init__(self, run: Supervised) -> None:
        self.run, self.code = run, run.wait(timeout_s=240)
        self.fired = (run.home / "fired").read_text()

    def report(self, *which: str) -> str:
        return trainwarden(self.run.home, "report", self.run.run, *which).stdout

    @property
    def epochs(self) -> list[str]:
        """In results.csv, in order."""
        return [row.split(",")[0] for row in (self.run.home / "out/run/results.csv").read_text().split()[1:]]


@pytest.fixture(scope="module")
def hung(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Hung]]:
    """The trainings, at the same time: what they do most is to wait."""
    pytest.importorskip("ultralytics")
    from tests.harness.yolo import go_offline, make_lab

    go_offline(tmp_path_factory.mktemp("yolo-config"))
    lab = make_lab(tmp_path_factory.mktemp("lab"))
    assert lab.batches == BATCHES
    with ExitStack() as stack:
        homes = {name: stack.enter_context(fresh_home()) for name in SCRIPTS}
        with ThreadPoolExecutor(len(SCRIPTS)) as pool:
            over = list(pool.map(lambda name: _train(name, homes[name], lab), SCRIPTS))
        yield dict(zip(SCRIPTS, over, strict=True))


def _train(name: str, home: Path, lab: Any) -> Hung:
    if name == "driver":
        return _with_a_card(lambda: _start(name, home, lab), home)
    run = _start(name, home, lab)
    if name == "stopped":
        _continue_once_told(run)
    return Hung(run)


def _start(name: str, home: Path, lab: Any) -> Supervised:
    given = lab.arguments(home / "out", epochs=EPOCHS, mosaic=0.0)
    text = HEAD.format(
        root=str(ROOT), arguments=given, model=str(lab.model), fired=str(home / "fired"), drm=str(home / "drm"),
        pause_s=PAUSE_S,
    )  # fmt: skip
    (home / "script.py").write_text(text + SCRIPTS[name])
    policy = POLICY % (DRIVER_ACT_S if name == "driver" else ACT_S)
    return Supervised(home, [sys.executable, str(home / "script.py")], run=name, policy=policy)


def _with_a_card(start: Callable[[], Supervised], home: Path) -> Hung:
    """A daemon that looks for cards in the stand-in; how the driver was, is kept beside."""
    AmdCard(home / "drm")
    with DaemonProcess(home, **{ENV_DRM: str(home / "drm")}) as daemon:
        run = start()
        up = 'trainwarden_gpu_driver_up{run="driver"}'
        run.until("the card is read", lambda: daemon.metric(up) == 1)
        run.until("the driver does not answer", lambda: daemon.metric(up) == 0)
        return Hung(run)


def _continue_once_told(run: Supervised) -> None:
    run.until_says("was stopped from outside")
    generation = run.until_generation(1)
    stat = Path(f"/proc/{generation.pid}/stat")
    assert ") T " in stat.read_text(), "the fault did not fire"
    os.kill(generation.pid, signal.SIGCONT)


@pytest.mark.parametrize("name", STANDS)
def test_a_training_that_stands_still_is_shown_started_again_and_finishes(name: str, hung: dict[str, Hung]) -> None:
    one = hung[name]
    assert one.code == 0, one.run.shown
    assert one.fired == "".join(str(number + 1) for number in range(len(STANDS[name]))), "the fault did not fire"
    assert all(function in one.run.shown for function in STANDS[name]), one.run.shown
    generations = len(one.fired) + 1
    assert one.run.folder.last_generation() == generations
    plan = read(one.run.folder.plan(generations), Plan)
    assert plan.checkpoint is not None
    assert (plan.checkpoint.epoch, plan.start_epoch) == (2, 3), "the newest clean checkpoint"
    assert plan.snapshot is not None, "it stood still within the third epoch, and that has snapshots"
    assert (plan.snapshot.epoch, plan.replay) == (2, True)
    held = plan.snapshot.extra_batches
    assert 1 <= held <= 4, "of the batches before it stood still"
    assert f"rolled back to batch {held} of epoch 3" in one.report("--incident", "1")
    trained = re.search(r"- Batches: (\d+) in ", one.report())
    assert trained, one.report()
    redone = int(trained[1]) - EPOCHS * BATCHES
    assert 0 < redone <= len(STANDS[name]) * (BATCHES - held), "the epoch goes on, and is not begun anew"
    assert one.epochs == ["1", "2", "3", "4"]
    assert "run finished: exit code 0" in one.run.shown


def seconds_lost(report: str) -> float:
    """Without training, as the report says: 7.8 s, or 1 min 11 s."""
    found = re.search(r"- without training: (?:(\d+) min ?)?(?:([\d.]+) s)?$", report, re.MULTILINE)
    assert found, report
    return 60 * float(found[1] or 0) + float(found[2] or 0)


@pytest.mark.parametrize("name", STANDS)
def test_the_report_has_the_stacks_and_the_time_that_the_standstill_cost(name: str, hung: dict[str, Hung]) -> None:
    one = hung[name]
    whole, incident = one.report(), one.report("--incident", "1")
    assert "## Where training stood still" in incident
    assert all(function in incident for function in STANDS[name])
    least_s = DRIVER_ACT_S if name == "driver" else ACT_S
    assert seconds_lost(whole) >= least_s, "from its last batch, not from its end"


def test_a_driver_that_stops_answering_is_said_beside_the_hang(hung: dict[str, Hung]) -> None:
    shown = hung["driver"].run.shown
    assert "the GPUs can't be watched: the AMD driver did not answer for 15 s" in shown, shown


def test_a_training_that_was_stopped_from_outside_is_told_and_left_alone(hung: dict[str, Hung]) -> None:
    """Whoever stops a process may want to continue it: that is no reason to end it."""
    one = hung["stopped"]
    assert one.code == 0, one.run.shown
    assert one.fired == "1", "the fault did not fire"
    assert one.run.folder.last_generation() == 1
    assert one.epochs == ["1", "2", "3", "4"]
    assert seconds_lost(one.report()) > 0
