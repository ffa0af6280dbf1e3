"""The message that opens a training: what its optimizer, its process and its integration say of it."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import torch

from trainer_hooks.parameter_groups import group_names
from trainer_hooks.recorder.probe_like import WhereItRuns
from trainer_hooks.wire.messages import TrainingStarted


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """What only the integration knows of a training before its first batch."""

    framework: str
    settings: Mapping[str, str]
    epochs: int
    batches_per_epoch: int
    save_dir: str
    arguments_digest: str
    start_epoch: int = 1  # the first one this generation will run, from 1
    part_names: tuple[str, ...] = ()
    world_size: int = 1
    ordinal: int = 1
    plan_id: str = ""
    guarded: bool = False
    scaler_enabled: bool = False
    samples: int = 0  # in the training set; 0: not known
    goes_back: bool = False  # it can go back to a snapshot without a new process
    keeps_position: bool = False  # its loop goes on where it is: only its state goes back, if anything does
    packages: tuple[str, ...] = field(default=("torch",))  # whose versions are sent
    group_names: Callable[[Any], tuple[str, ...]] = group_names


def training_started(
    facts: TrainingFacts, optimizer: torch.optim.Optimizer, device: torch.device, place: WhereItRuns
) -> TrainingStarted:
    """The message; `device` is the one that this rank trains on."""
    groups: list[dict[str, Any]] = optimizer.param_groups
    return TrainingStarted(
        wall_s=time.time(),
        framework=facts.framework,
        versions=_versions(facts.packages),
        settings=dict(facts.settings),
        part_names=facts.part_names,
        group_names=facts.group_names(optimizer),
        group_rates=tuple(float(group.get("initial_lr", group["lr"])) for group in groups),
        epochs=facts.epochs,
        start_epoch=facts.start_epoch,
        batches_per_epoch=facts.batches_per_epoch,
        world_size=facts.world_size,
        ordinal=facts.ordinal,
        save_dir=facts.save_dir,
        run_folder=str(place.folder.root),
        pid=os.getpid(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        arguments_digest=facts.arguments_digest,
        plan_id=facts.plan_id,
        guarded=facts.guarded,
        scaler_enabled=facts.scaler_enabled,
        base_weight_decays=tuple(float(group.get("weight_decay", 0.0)) for group in groups),
        samples=facts.samples,
        goes_back=facts.goes_back,
        keeps_position=facts.keeps_position,
    )


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    found = {"python": platform.python_version(), "cuda": str(torch.version.cuda or "")}
    if hip := getattr(torch.version, "hip", None):  # a torch for AMD cards; the daemon reads those by it
        found["hip"] = str(hip)
    for name in (*packages, "trainwarden"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a source tree
            found[name] = "unknown"
    return found
