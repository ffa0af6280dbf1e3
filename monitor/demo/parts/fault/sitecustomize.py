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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

TRAINER_MODULE = "ultralytics.models.yolo.detect.train"
FIRST_EPOCH = 4  # as Ultralytics prints it: from 1
FIRST_BATCH = 32  # of that epoch, from 0
RATE_OF_THE_SCRIPT = 0.01  # lr0 in train.py
GAIN = 120_000.0  # at that rate: a pixel over 0.55 becomes infinite; 60,000 at half of it is finite for every pixel
POSITIONS = frozenset({16, 19, 32, 36, 42, 43, 55, 70})  # of an epoch's 80: random.Random(35).sample(range(80), 8)

passes: Counter[int] = Counter()  # images preprocessed, by epoch; an epoch that is done again goes on counting


def overflowing(trainer: Any, images: Any) -> Any:
    """The images after the float16 multiplication and back; infinite where the product overflowed."""
    gain = GAIN * trainer.scheduler.base_lrs[0] / RATE_OF_THE_SCRIPT
    return (images.half() * gain).float() / gain


def is_hit(trainer: Any) -> bool:
    """Whether the batch that is being preprocessed is one of those that pass the multiplication."""
    epoch = trainer.epoch + 1
    batch = passes[epoch] % len(trainer.train_loader)
    passes[epoch] += 1
    return batch in POSITIONS and (epoch > FIRST_EPOCH or (epoch == FIRST_EPOCH and batch >= FIRST_BATCH))


def inject(module: ModuleType) -> None:
    """Wrap DetectionTrainer.preprocess_batch, the last thing that happens to a batch before the model sees it."""
    trainer_class = module.DetectionTrainer
    original = trainer_class.preprocess_batch

    def preprocess_batch(self: Any, batch: dict[str, Any]) -> dict[str, Any]:
        batch = original(self, batch)
        if is_hit(self):
            batch["img"] = overflowing(self, batch["img"])
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
