"""The message that opens a plain training."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch

from trainer_hooks.integrations.plain.framework import FRAMEWORK
from trainer_hooks.probe import Probe
from trainer_hooks.restore import group_names
from trainer_hooks.wire.messages import TrainingStarted


def started(
    probe: Probe,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    epochs: int,
    batches_per_epoch: int,
    settings: Mapping[str, object],
    part_names: tuple[str, ...],
) -> TrainingStarted:
    """What is known of a training before its first batch."""
    groups: list[dict[str, Any]] = optimizer.param_groups
    told = {str(name): str(value) for name, value in settings.items()}
    told.setdefault("optimizer", type(optimizer).__name__)
    told.setdefault(FRAMEWORK.settings.learning_rate, str(groups[0].get("initial_lr", groups[0]["lr"])))
    return TrainingStarted(
        wall_s=time.time(),
        framework=FRAMEWORK.name,
        versions={
            "torch": str(torch.__version__),
            "python": platform.python_version(),
            "cuda": str(torch.version.cuda or ""),
        },
        settings=told,
        part_names=part_names,
        group_names=group_names(optimizer),
        group_rates=tuple(float(group.get("initial_lr", group["lr"])) for group in groups),
        epochs=epochs,
        start_epoch=1,
        batches_per_epoch=batches_per_epoch,
        world_size=int(os.environ.get("WORLD_SIZE", "1")),
        ordinal=1,
        save_dir=os.getcwd(),  # noqa: PTH109 - a text is what is told
        run_folder=str(probe.identity.folder.root),
        pid=os.getpid(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        arguments_digest=hashlib.sha256("\0".join(sys.argv).encode("utf-8", "surrogateescape")).hexdigest(),
        guarded=False,
        base_weight_decays=tuple(float(group.get("weight_decay", 0.0)) for group in groups),
    )
