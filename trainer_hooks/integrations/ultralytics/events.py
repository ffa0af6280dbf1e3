"""Builds the messages that tell of a training: its start with every setting, its batches, the evidence of a bad one."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from typing import Any

import torch

from trainer_hooks.guard import Examination
from trainer_hooks.integrations.ultralytics import signals
from trainer_hooks.integrations.ultralytics.batches import BatchAssessment, PendingBatch
from trainer_hooks.integrations.ultralytics.framework import FRAMEWORK
from trainer_hooks.integrations.ultralytics.process import ProbeLike, Training
from trainer_hooks.restore import group_names
from trainer_hooks.wire.messages import BatchEnded, Counts, Nonfinite, NonfiniteSeen, TrainingStarted


def training_started(trainer: Any, training: Training, probe: ProbeLike, *, guarded: bool) -> TrainingStarted:
    """The message that opens a training; `part_names` may still be empty, see signals.part_names."""
    groups = trainer.optimizer.param_groups
    return TrainingStarted(
        wall_s=time.time(),
        framework=FRAMEWORK.name,
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


def batch_ended(draft: PendingBatch, verdict: BatchAssessment, counts: Counts) -> BatchEnded:
    """The record of a batch; `counts` after it."""
    contents, memory = draft.contents, draft.memory
    return BatchEnded(
        wall_s=draft.wall_s,
        sent_s=draft.sent_s,
        epoch=draft.epoch,
        batch=draft.batch,
        batches_per_epoch=draft.batches_per_epoch,
        counts=counts,
        loss=verdict.loss,
        parts=verdict.parts,
        grad_norm=verdict.norm,
        nonfinite=int(verdict.bits),
        skipped_by=draft.report.skipped_by.value,
        cured=verdict.cured,
        learning_rates=tuple(reading.rate for reading in draft.used),
        momentum=draft.used[0].momentum,
        weight_decay=max(reading.weight_decay for reading in draft.used),
        clip_norm=draft.clip_norm,
        loss_scale=verdict.scale,
        batch_size=contents.size,
        image_size=contents.image_size,
        instances=contents.instances,
        instances_max=contents.instances_max,
        memory_allocated=memory.allocated,
        memory_reserved=memory.reserved,
        memory_peak=memory.peak,
        alloc_retries=memory.retries,
        batch_s=draft.batch_s,
        data_wait_s=draft.data_wait_s,
        ramp=draft.ramp,
        onset_samples_left=draft.onset_samples_left,
        update_ratio=verdict.update,
    )


def evidence(trainer: Any, draft: PendingBatch, verdict: BatchAssessment) -> NonfiniteSeen:
    """What is known of a bad batch."""
    return NonfiniteSeen(
        wall_s=draft.wall_s,
        epoch=draft.epoch,
        batch=draft.batch,
        nonfinite=int(verdict.bits),
        loss=verdict.loss,
        parts=verdict.parts,
        grad_norm=verdict.norm,
        cured=verdict.cured,
        samples=draft.contents.samples,
        samples_partial=signals.mixes_images(trainer),
        first_bad=draft.report.bad_buffer or verdict.first_bad,
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


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "cuda": str(torch.version.cuda or "")}
    for name in (FRAMEWORK.name, "torch", "trainwarden"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a source tree
            found[name] = "unknown"
    return found


def _settings(trainer: Any) -> dict[str, str]:
    """Every argument of the trainer, and what it made of them."""
    settings = {name: str(value) for name, value in vars(trainer.args).items()}
    settings["optimizer"] = type(trainer.optimizer).__name__
    settings["accumulate"] = str(getattr(trainer, "accumulate", ""))
    settings["batch_size"] = str(trainer.batch_size)
    settings["amp_active"] = str(bool(getattr(trainer, "amp", False)))
    return settings


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
