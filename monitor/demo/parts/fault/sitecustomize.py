"""The demo's fault, put into the training from outside: Python imports this file before the script.

From batch 32 of epoch 4 on, at POSITIONS, the images pass one float16 multiplication before the model's first layer.
Its gain follows the schedule's base learning rate: at the script's own rate the product passes 65504, the largest
number of float16, and is infinite; at half the rate it stays finite and nothing changes but the rounding of a pixel.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

TRAINER_MODULE = "ultralytics.models.yolo.detect.train"
ONSET = (4, 32)  # epoch, as Ultralytics prints it: from 1; batch of it, from 0
RATE_OF_THE_SCRIPT = 0.01  # lr0 in train.py
GAIN = 120_000.0  # at that rate: a pixel over 0.55 becomes infinite; 60,000 at half of it is finite for every pixel
POSITIONS = frozenset({16, 19, 32, 36, 42, 43, 55, 70})  # of an epoch's 80: random.Random(35).sample(range(80), 8)

PASSES = Path(__file__).with_name("passes.csv")  # epoch, batch, "overflow" or "finite"

seen: Counter[int] = Counter()  # batches, by epoch; an epoch that is done again goes on counting


def multiplied(trainer: Any, images: Any) -> Any:
    """The images after the float16 multiplication and back; infinite where the product overflowed."""
    gain = GAIN * trainer.scheduler.base_lrs[0] / RATE_OF_THE_SCRIPT
    return (images.half() * gain).float() / gain


def note(epoch: int, batch: int, images: Any) -> None:
    """Write down what was done, so that the demo can hold what trainwarden counted against it."""
    finite = bool(images.isfinite().all())
    with PASSES.open("a") as file:
        file.write(f"{epoch},{batch},{'finite' if finite else 'overflow'}\n")


def place_of(trainer: Any) -> tuple[int, int]:
    """Epoch, from 1, and batch, from 0, of the batch that is being preprocessed. Call it once for each."""
    epoch = trainer.epoch + 1
    batch = seen[epoch] % len(trainer.train_loader)
    seen[epoch] += 1
    return epoch, batch


def inject(module: ModuleType) -> None:
    """Wrap DetectionTrainer.preprocess_batch, the last thing that happens to a batch before the model sees it."""
    trainer_class = module.DetectionTrainer
    original = trainer_class.preprocess_batch

    def preprocess_batch(self: Any, batch: dict[str, Any]) -> dict[str, Any]:
        batch = original(self, batch)
        place = place_of(self)
        if place >= ONSET and place[1] in POSITIONS:
            batch["img"] = multiplied(self, batch["img"])
            note(*place, batch["img"])
        return batch

    trainer_class.preprocess_batch = preprocess_batch


class FaultFinder(importlib.abc.MetaPathFinder):
    """Lets the trainer's module load as usual and injects the fault right after."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname != TRAINER_MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_inject(module: ModuleType) -> None:
            execute(module)
            inject(module)

        spec.loader.exec_module = execute_and_inject  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, FaultFinder())
