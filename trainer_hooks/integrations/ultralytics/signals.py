"""Reads an Ultralytics trainer: its loss and components, its memory, its batch, its warm-up. Never changes it.

What a release of Ultralytics does not have is asked for by attribute, never by version.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from trainer_hooks.integrations.ultralytics.mixed_names import MixedName, all_names
from trainer_hooks.recorder.batch import BatchContents

WARMUP_BATCHES_MIN = 100  # of releases before _get_warmup_iterations


Before: TypeAlias = tuple[int | None, torch.Tensor | None, Callable[[], tuple[str, ...]] | None, bool]
"""Of BatchContents: counted, owners, name_samples, samples_partial."""


def contents_before(batch: dict[str, Any]) -> Before:
    """What the collated batch holds, read on the host, before it travels to the device. Its names become plain texts.

    `samples_partial` means here: if its images are mixed, the names cover only part of it.
    """
    names, name_samples, partial = batch.get("im_file"), None, True
    if isinstance(names, (tuple, list)):
        name_samples = functools.partial(all_names, names)
        if MixedName in map(type, names):
            partial = False
            batch["im_file"] = type(names)(map(str, names))
    owners = batch.get("batch_idx")
    if isinstance(owners, torch.Tensor) and owners.is_cpu:
        return None, owners, name_samples, partial
    classes = batch.get("cls")
    return (classes.shape[0] if isinstance(classes, torch.Tensor) else None), None, name_samples, partial


def contents_after(before: Before, batch: Any) -> BatchContents:
    """All that is known of a batch; its final shape only the prepared batch knows."""
    image = batch.get("img") if isinstance(batch, dict) else None
    if isinstance(image, torch.Tensor) and (shape := image.shape):
        return BatchContents(shape[0], shape, None, *before)
    return BatchContents(None, (), None, *before)


def parts(items: Any) -> tuple[torch.Tensor, ...]:
    """The loss components as 0-dim tensors, in the trainer's order."""
    if isinstance(items, dict):
        return tuple(items.values())
    return tuple(items.detach().flatten().unbind()) if isinstance(items, torch.Tensor) else ()


def part_names(trainer: Any) -> tuple[str, ...]:
    """Names of the loss components; empty before the first batch of releases that derive them from it."""
    if isinstance(trainer.loss_names, str):
        return (trainer.loss_names,)
    return tuple(str(name) for name in trainer.loss_names or ())


def scaling(trainer: Any) -> bool:
    """True: a gradient scaler is there and switched on."""
    scaler = getattr(trainer, "scaler", None)
    return scaler is not None and scaler.is_enabled()


def scale_tensor(trainer: Any) -> torch.Tensor | None:
    """The loss scale as the scaler keeps it, to be read together with other scalars; None: no scaling."""
    if not scaling(trainer):
        return None
    scale = getattr(trainer.scaler, "_scale", None)
    return scale if isinstance(scale, torch.Tensor) else None


def warmup_batches(trainer: Any, batches_per_epoch: int) -> int:
    """How many batches, counted from epoch 0, the trainer's own warm-up lasts."""
    ours = getattr(trainer, "_get_warmup_iterations", None)
    if ours is not None:
        return int(ours(batches_per_epoch))
    epochs = float(trainer.args.warmup_epochs)
    return max(round(epochs * batches_per_epoch), WARMUP_BATCHES_MIN) if epochs > 0 else 0


def training_samples(trainer: Any) -> int:
    """Images in the training set; 0: the loader's data set has no length."""
    try:
        return len(trainer.train_loader.dataset)
    except (AttributeError, TypeError):
        return 0


def mixes_images(trainer: Any) -> bool:
    """True: a batch's names cover only part of what is in its images, since mosaic or mixup put several into one."""
    dataset = getattr(trainer.train_loader, "dataset", None)
    arguments = trainer.args
    mosaic = getattr(arguments, "mosaic", 0.0) and getattr(dataset, "mosaic", True) and not _mosaic_closed(trainer)
    return bool(mosaic or getattr(arguments, "mixup", 0.0) or getattr(arguments, "cutmix", 0.0))


def _mosaic_closed(trainer: Any) -> bool:
    closing = int(getattr(trainer.args, "close_mosaic", 0) or 0)
    return bool(closing) and getattr(trainer, "epoch", 0) >= trainer.epochs - closing


def mean_parts(trainer: Any) -> tuple[float, ...]:
    """The running means of the epoch's components. Waits for the device."""
    return tuple(float(value) for value in parts(trainer.tloss))


def metrics(trainer: Any) -> dict[str, float]:
    """The trainer's last metrics, those that are numbers."""
    found: dict[str, float] = {}
    for name, value in (getattr(trainer, "metrics", None) or {}).items():
        number = as_number(value)
        if number is not None:
            found[str(name)] = number
    return found


def as_number(value: Any) -> float | None:
    """The value as a float; None: it is not a number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
