"""The planted faults. One that happens once does so once in the life of a run: a file in its folder says that it has.

A fault acts on a batch before the model sees it, or around the optimizer's step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

OWN_RATE = 0.01  # lr0 of the training
MIDDLE, LATE = 0.5, 0.85  # of the training
BURST_FROM, BURST_EVERY = 0.4, 5
HIGH_RATE = 0.6  # of the rate that the user's schedule has now: at half of it the burst is over
RATE_FACTOR, RATE_STEPS = 200.0, 5
BAD_IMAGE = "0007.png"
NAN = float("nan")


@dataclass
class Life:
    """One process of a training, and what it knows of the ones before."""

    folder: Path
    trainer: Any = None
    batch: int = -1  # of the epoch, from 0
    steps_left: int = 0  # at a rate that is too high

    @property
    def fired(self) -> Path:
        """Where the faults that happened are written down."""
        return self.folder / "fired.csv"

    def is_past(self, share: float) -> bool:
        """Whether this branch of the training has come so far."""
        per_epoch = len(self.trainer.train_loader)
        return bool(self.trainer.epoch * per_epoch + self.batch >= share * self.trainer.epochs * per_epoch)

    def once(self, share: float) -> bool:
        """True for one batch in the life of the run, the first at or after `share` of the training."""
        if not self.is_past(share) or self.fired.exists():
            return False
        self.note()
        return True

    def note(self) -> None:
        """The fault happens at this batch."""
        with self.fired.open("a") as file:
            file.write(f"{self.trainer.epoch + 1},{self.batch}\n")


BatchFault = Callable[[Life, dict[str, Any]], None]
StepFault = Callable[[Life, Callable[[], None]], None]


def one_pixel(life: Life, batch: dict[str, Any]) -> None:
    """One NaN pixel in one image, once."""
    if life.once(MIDDLE):
        batch["img"][0, 0, 5, 5] = NAN


def burst(life: Life, batch: dict[str, Any]) -> None:
    """Every fifth batch is bad from some batch on, while the rate is the user's own."""
    rate = max(group["lr"] for group in life.trainer.optimizer.param_groups)
    high = rate > HIGH_RATE * OWN_RATE * life.trainer.lf(life.trainer.epoch)
    if high and life.is_past(BURST_FROM) and life.batch % BURST_EVERY == 2:
        life.note()
        batch["img"][0, 0, 5, 5] = NAN


def bad_image(life: Life, batch: dict[str, Any]) -> None:
    """One image is bad, every time that it is drawn."""
    for index, name in enumerate(batch["im_file"]):
        if Path(name).name == BAD_IMAGE:
            life.note()
            batch["img"][index, 0, 5, 5] = NAN


def from_the_first(life: Life, batch: dict[str, Any]) -> None:
    """Every batch is bad."""
    life.note()
    batch["img"][0, 0, 5, 5] = NAN


def _hit(life: Life, take: Callable[[], None], share: float) -> None:
    take()
    if life.once(share):
        with torch.no_grad():
            next(life.trainer.model.parameters()).view(-1)[0] = NAN


def weight(life: Life, take: Callable[[], None]) -> None:
    """One weight becomes NaN after a step, once."""
    _hit(life, take, MIDDLE)


def late_weight(life: Life, take: Callable[[], None]) -> None:
    """The same in the last third of the training."""
    _hit(life, take, LATE)


def rate(life: Life, take: Callable[[], None]) -> None:
    """Five steps are taken at 200 times the rate, once."""
    if life.once(MIDDLE):
        life.steps_left = RATE_STEPS
    if not life.steps_left:
        return take()
    life.steps_left -= 1
    groups = life.trainer.optimizer.param_groups
    own = [group["lr"] for group in groups]
    for group in groups:
        group["lr"] *= RATE_FACTOR
    take()
    for group, before in zip(groups, own, strict=True):
        group["lr"] = before
    return None


def batch_norm(life: Life, take: Callable[[], None]) -> None:
    """A running mean of BatchNorm becomes NaN after a step, once. Training does not use it; validation does."""
    take()
    if life.once(MIDDLE):
        layers = (m for m in life.trainer.model.modules() if isinstance(m, torch.nn.BatchNorm2d))
        next(layers).running_mean.fill_(NAN)  # type: ignore[union-attr]


ON_BATCH: dict[str, BatchFault] = {
    "one_pixel": one_pixel,
    "burst": burst,
    "bad_image": bad_image,
    "from_the_first": from_the_first,
}
AT_STEP: dict[str, StepFault] = {"weight": weight, "rate": rate, "batch_norm": batch_norm, "late_weight": late_weight}
ROWS = {
    "healthy": "healthy",
    "one_pixel": "one NaN pixel, once",
    "burst": "every fifth batch bad while the rate is high",
    "weight": "one weight NaN, once",
    "rate": "rate x200 for five steps",
    "bad_image": "one bad image, every time",
    "from_the_first": "NaN from the first batch",
    "batch_norm": "BatchNorm poisoned, once",
    "late_weight": "one weight NaN, once, at 85 %",
}
