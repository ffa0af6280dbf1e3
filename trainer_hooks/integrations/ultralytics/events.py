"""Describes a training to those who were not there: versions, settings, parameter groups."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from typing import Any

import torch

from trainer_hooks.integrations.ultralytics import signals
from trainer_hooks.integrations.ultralytics.process import ProbeLike, Training
from trainer_hooks.restore import group_names
from trainer_hooks.wire.messages import TrainingStarted


def started(trainer: Any, training: Training, probe: ProbeLike, *, guarded: bool) -> TrainingStarted:  # noqa: ANN401
    """The message that opens a training; `part_names` may still be empty, see signals.part_names."""
    groups = trainer.optimizer.param_groups
    return TrainingStarted(
        wall_s=time.time(),
        framework="ultralytics",
        versions=_versions(),
        settings=_settings(trainer),
        part_names=signals.part_names(trainer),
        group_names=group_names(trainer.optimizer),
        group_rates=tuple(float(group.get("initial_lr", group["lr"])) for group in groups),
        epochs=int(trainer.epochs),
        start_epoch=int(trainer.start_epoch) + 1,
        batches_per_epoch=len(trainer.train_loader),
        world_size=max(int(getattr(trainer, "world_size", 1) or 1), 1),
        ordinal=training.ordinal,
        save_dir=str(trainer.save_dir),
        run_folder=str(probe.identity.folder.root),
        pid=os.getpid(),
        device=_device(trainer.device),
        arguments_digest=training.digest,
        plan_id=training.plan.id if training.plan else "",
        guarded=guarded,
        scaler_enabled=signals.scaling(trainer),
        base_weight_decays=tuple(float(group.get("weight_decay", 0.0)) for group in groups),
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "cuda": str(torch.version.cuda or "")}
    for name in ("ultralytics", "torch", "trainwarden"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a source tree
            found[name] = "unknown"
    return found


def _settings(trainer: Any) -> dict[str, str]:  # noqa: ANN401
    """Every argument of the trainer, and what it made of them."""
    settings = {name: str(value) for name, value in vars(trainer.args).items()}
    settings["optimizer"] = type(trainer.optimizer).__name__
    settings["accumulate"] = str(getattr(trainer, "accumulate", ""))
    settings["batch_size"] = str(trainer.batch_size)
    settings["amp_active"] = str(bool(getattr(trainer, "amp", False)))
    return settings


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
