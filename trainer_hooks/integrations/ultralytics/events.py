"""What is recorded of an Ultralytics training beside its batches: its start, a bad state, the end of an epoch."""

from __future__ import annotations

import time
from typing import Any

from trainer_hooks.guard import Examination
from trainer_hooks.integrations.ultralytics import signals
from trainer_hooks.integrations.ultralytics.framework import FRAMEWORK
from trainer_hooks.integrations.ultralytics.plan_settings import group_names
from trainer_hooks.integrations.ultralytics.process import Training
from trainer_hooks.recorder.started import TrainingFacts
from trainer_hooks.wire.messages import EpochEnded, Nonfinite, NonfiniteSeen


def training_facts(trainer: Any, training: Training, *, guarded: bool, goes_back: bool) -> TrainingFacts:
    """What opens a training; `part_names` may still be empty, see signals.part_names."""
    return TrainingFacts(
        framework=FRAMEWORK.name,
        packages=(FRAMEWORK.name, "torch"),
        settings=_settings(trainer),
        part_names=signals.part_names(trainer),
        group_names=group_names,
        epochs=int(trainer.epochs),
        start_epoch=int(trainer.start_epoch) + 1,
        batches_per_epoch=len(trainer.train_loader),
        world_size=max(int(getattr(trainer, "world_size", 1) or 1), 1),
        ordinal=training.ordinal,
        save_dir=str(trainer.save_dir),
        arguments_digest=training.digest,
        plan_id=training.plan.id if training.plan else "",
        guarded=guarded,
        scaler_enabled=signals.scaling(trainer),
        samples=signals.training_samples(trainer),
        goes_back=goes_back,
    )


def found_at_epoch_end(trainer: Any, batch: int, found: Examination) -> NonfiniteSeen:
    """A state found poisoned before a validation, which no batch had announced."""
    poisoned = found.parameter or found.average
    return NonfiniteSeen(
        wall_s=time.time(),
        epoch=trainer.epoch + 1,
        batch=batch,
        nonfinite=int(Nonfinite.PARAMETER if poisoned else Nonfinite.BUFFER),
        loss=None,
        parts=(),
        grad_norm=None,
        cured=found.clean,
        samples=(),
        samples_partial=False,
        first_bad=found.first_bad,
    )


def epoch_ended(trainer: Any, began_s: float, *, redone: bool) -> EpochEnded:
    """An epoch is trained and validated, or thrown away by the trainer's own recovery. Waits for the device."""
    return EpochEnded(
        wall_s=time.time(),
        epoch=trainer.epoch + 1,
        seconds=time.monotonic() - began_s,
        parts=signals.mean_parts(trainer),
        metrics=signals.metrics(trainer),
        fitness=signals.as_number(trainer.fitness),
        redone=redone,
    )


def _settings(trainer: Any) -> dict[str, str]:
    """Every argument of the trainer, and what it made of them."""
    settings = {name: str(value) for name, value in vars(trainer.args).items()}
    settings["optimizer"] = type(trainer.optimizer).__name__
    settings["accumulate"] = str(getattr(trainer, "accumulate", ""))
    settings["batch_size"] = str(trainer.batch_size)
    settings["amp_active"] = str(bool(getattr(trainer, "amp", False)))
    return settings
