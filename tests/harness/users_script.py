"""A script with every mechanism of the one that this program was asked for, and its first training, which dies.

Methods of Ultralytics patched at class level; a class of its own around every convolution, which is pickled into every
checkpoint; its own clipping and skipping; weights from last.pt with everything else fresh, into the same folder.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.harness.night_run import environment_of_home
from tests.harness.yolo import Lab

Places = set[tuple[int, int]]  # epoch from 1, batch from 0

SCRIPT = """\
import sys
import time
from pathlib import Path

import torch
import ultralytics.data
from ultralytics import YOLO
from ultralytics.data.dataset import YOLODataset
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import DEFAULT_CFG, checks

ARGUMENTS, BAD, DAMAGE, HERE = {arguments!r}, {bad!r}, {damage!r}, Path(__file__).parent
FIRST, FIRED, NOW, SLOW = "first" in sys.argv, HERE / "fired", HERE / "now", HERE / "slow"
LAST = HERE / "runs" / "train" / "weights" / "last.pt"
place = [0, -1]


class OwnForward:
    def __init__(self, conv):
        self.conv = conv

    def __call__(self, x):
        return self.conv._conv_forward(x.contiguous(), self.conv.weight, self.conv.bias)


init, setup_model, step = BaseTrainer.__init__, BaseTrainer.setup_model, BaseTrainer.optimizer_step
build = ultralytics.data.build_dataloader


def own_init(self, cfg=DEFAULT_CFG, overrides=None, _callbacks=None):
    init(self, cfg, dict(overrides or {{}}, workers=0), _callbacks)


def own_setup(self):
    checkpoint = setup_model(self)
    convolutions = [each for each in self.model.modules() if isinstance(each, torch.nn.Conv2d)]
    for each in convolutions:
        each.forward = OwnForward(each)
    print(f"re-patched {{len(convolutions)}} convolutions")
    return checkpoint


def own_step(self):
    self.scaler.unscale_(self.optimizer)
    torch.nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=10.0)
    norm = sum(each.grad.norm(2).item() ** 2 for each in self.model.parameters() if each.grad is not None) ** 0.5
    if norm != norm or norm == float("inf"):
        print(f"nan gradients in epoch {{place[0]}}, batch {{place[1]}}: step skipped")
        self.optimizer.zero_grad()
        return
    step(self)


BaseTrainer.__init__, BaseTrainer.setup_model, BaseTrainer.optimizer_step = own_init, own_setup, own_step
checks.check_amp = lambda model: False
ultralytics.data.build_dataloader = lambda *args, **options: build(*args, **options)


def epoch_starts(trainer):
    place[:] = [trainer.epoch + 1, -1]
    print(f"epoch {{place[0]}} starts")


def batch_starts(trainer):
    place[1] += 1
    if SLOW.exists():
        time.sleep(0.4)


def fires(mark):
    fired = FIRED.read_text().splitlines() if FIRED.exists() else []
    if mark not in fired:
        FIRED.write_text("\\n".join([*fired, mark]))
    return mark not in fired


def is_asked_for(fault):
    mark = f"{{fault}} {{place[0]}}"
    return NOW.exists() and NOW.read_text() == mark and fires(mark)


def wait_for_the_card():
    time.sleep(3600)


def load(dataset, index):
    if dataset.augment and (is_asked_for("hang") or is_asked_for("frozen")):
        wait_for_the_card()
    return get(dataset, index)


get, YOLODataset.__getitem__ = YOLODataset.__getitem__, load


def spoil_batches(trainer):
    prepare = trainer.preprocess_batch

    def spoilt(batch):
        batch = prepare(batch)
        hit = is_asked_for("night")
        if hit or tuple(place) in BAD and fires(f"{{place[0]}} {{place[1]}}"):
            batch["img"][0, 0, 5, 5] = float("nan")
            if hit or DAMAGE:
                next(trainer.model.parameters()).data.view(-1)[0] = float("nan")
        if not torch.isfinite(next(trainer.model.parameters())).all():
            time.sleep(0.5)  # as long as a batch of the user's, so that an order comes in time
        return batch

    trainer.preprocess_batch = spoilt


def freeze(trainer):
    sys.exit("the machine froze")


model = YOLO({model!r} if FIRST else str(LAST))
model.add_callback("on_train_epoch_start", epoch_starts)
model.add_callback("on_train_batch_start", batch_starts)
model.add_callback("on_fit_epoch_end", lambda trainer: print(f"epoch {{trainer.epoch + 1}} ends"))
if FIRST:
    model.add_callback("on_model_save", freeze)
else:
    model.add_callback("on_pretrain_routine_end", spoil_batches)
model.train(**ARGUMENTS, project=str(HERE / "runs"), name="train", exist_ok=True, resume=False)
"""


def write_script(home: Path, lab: Lab, bad: Places, *, damage: bool = False, **arguments: object) -> list[str]:
    """Write it into `home`; its command line, as the user types it behind nohup."""
    given = lab.arguments(home, val=True, save_period=1, **arguments)
    fixed = ("project", "name", "exist_ok", "workers")
    kept = {name: value for name, value in given.items() if name not in fixed}
    (home / "train.py").write_text(SCRIPT.format(arguments=kept, bad=bad, damage=damage, model=str(lab.model)))
    return [sys.executable, "-u", str(home / "train.py")]


def first_training(home: Path, lab: Lab, **arguments: object) -> Path:
    """Its first training, which dies after an epoch and leaves the last.pt that all others start from: its folder."""
    argv = write_script(home, lab, set(), **arguments)
    done = subprocess.run(
        [*argv, "first"], env=environment_of_home(home), capture_output=True, text=True, check=False, timeout=120
    )
    assert "the machine froze" in done.stderr, done.stdout + done.stderr
    assert (home / "runs" / "train" / "weights" / "last.pt").exists()
    return home / "runs"


def go_on_from(runs: Path, home: Path) -> None:
    """What the first training left is in this home too."""
    shutil.copytree(runs, home / "runs")
