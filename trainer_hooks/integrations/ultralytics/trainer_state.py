"""The whole state of a trainer of Ultralytics at a batch boundary, as plain values, and its way back into a trainer."""

from __future__ import annotations

from typing import Any

import torch

from trainer_hooks.integrations.ultralytics.loader_position import LoaderPosition
from trainer_hooks.snapshots import (
    Tree,
    model_tensors,
    optimizer_tree,
    plain,
    put_back_model,
    put_back_optimizer,
    random_tree,
)
from trainer_hooks.snapshots.objects import StateMismatchError, check_model, check_optimizer
from trainer_hooks.tensors import unwrap

STOPPER = ("best_fitness", "best_epoch")
SCHEDULE = ("updates", "o2m", "o2o")  # of a loss whose weights follow the epochs, as YOLO26's
OWN = ("best_fitness", "fitness", "metrics", "nan_recovery_attempts", "lr", "accumulate")  # of the trainer itself


def state_of(trainer: Any, batch: int, loader: LoaderPosition) -> Tree:
    """Everything that the rest of the training follows from, after batch `batch` (from 0), which took a step.

    Nothing is copied yet. Raises NotPlainError where the trainer holds something that can't be kept.
    """
    pass_state = loader.state()
    return {
        "framework": "ultralytics",
        "epoch": int(trainer.epoch),  # from 0, as the trainer counts
        "batch": batch,
        "batches_per_epoch": len(trainer.train_loader),
        "schedule": _schedule(trainer),
        "model": model_tensors(unwrap(trainer.model)),
        "average": model_tensors(trainer.ema.ema) if trainer.ema else {},
        "average_updates": int(trainer.ema.updates) if trainer.ema else 0,
        "optimizer": optimizer_tree(trainer.optimizer),
        "scaler": plain(trainer.scaler.state_dict(), "scaler"),
        "own": {name: plain(getattr(trainer, name), name) for name in OWN if hasattr(trainer, name)},
        "stopper": {name: plain(getattr(trainer.stopper, name), name) for name in STOPPER},
        "means": plain(trainer.tloss, "tloss"),
        "random": random_tree(),
        "pass": pass_state,
        "drawn": list(trainer.train_loader.dataset.buffer) if _loads_here(trainer) else [],
    }


def _schedule(trainer: Any) -> dict[str, Tree]:
    criterion = getattr(unwrap(trainer.model), "criterion", None)
    return {name: plain(getattr(criterion, name), name) for name in SCHEDULE if hasattr(criterion, name)}


def check(trainer: Any, tree: Tree) -> None:
    """Raises StateMismatchError where the state is not one of this trainer's. Changes nothing."""
    try:
        here, there = len(trainer.train_loader), tree["batches_per_epoch"]
        if here != there:
            raise StateMismatchError(f"an epoch has {here} batches, the snapshot's had {there}")
        if not 0 <= tree["batch"] < there - 1:
            raise StateMismatchError(f"batch {tree['batch']} is not within an epoch of {there}")
        check_model(unwrap(trainer.model), tree["model"], "model")
        if bool(trainer.ema) != bool(tree["average"]):
            raise StateMismatchError("average: only one of trainer and snapshot has one")
        if trainer.ema:
            check_model(trainer.ema.ema, tree["average"], "average")
        check_optimizer(trainer.optimizer, tree["optimizer"])
    except (KeyError, TypeError, AttributeError) as error:
        raise StateMismatchError(
            f"the snapshot lacks what this trainer has ({type(error).__name__}: {error})"
        ) from error


def put_back(trainer: Any, tree: Tree) -> None:
    """Into the trainer's own objects. Call `check` before. Random generators and loader follow with the first batch."""
    put_back_model(unwrap(trainer.model), tree["model"])
    if trainer.ema:
        put_back_model(trainer.ema.ema, tree["average"])
        trainer.ema.updates = tree["average_updates"]
    put_back_optimizer(trainer.optimizer, tree["optimizer"])
    if tree["scaler"]:
        trainer.scaler.load_state_dict(tree["scaler"])
    for name, value in tree["own"].items():
        if name != "accumulate":  # the loop reads the nominal value as its start; see Cadence
            setattr(trainer, name, value)
    for name, value in tree["stopper"].items():
        setattr(trainer.stopper, name, value)
    criterion = getattr(unwrap(trainer.model), "criterion", None)
    for name, value in tree.get("schedule", {}).items():
        if criterion is not None:
            setattr(criterion, name, value)
    trainer.start_epoch = tree["epoch"]
    trainer.scheduler.last_epoch = tree["epoch"] - 1  # the loop moves it on when the epoch begins


def tensors(trainer: Any) -> dict[str, torch.Tensor]:
    """Parameters, buffers and those of the moving average."""
    average = model_tensors(trainer.ema.ema) if trainer.ema else {}
    return {**model_tensors(unwrap(trainer.model)), **{f"average {name}": each for name, each in average.items()}}


def put_back_means(trainer: Any, tree: Tree) -> None:
    """The running means of the progress bar, on the device; the loop has just emptied them."""
    means = tree["means"]
    if isinstance(means, dict):
        trainer.tloss = {name: _there(value, trainer.device) for name, value in means.items()}
    else:
        trainer.tloss = _there(means, trainer.device)


def _there(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, torch.Tensor) else value


def load_images(trainer: Any, tree: Tree) -> None:
    """Fill the data set's buffer of images, from which mosaics are drawn, in the order in which it was filled."""
    if not (tree["drawn"] and _loads_here(trainer)):
        return
    dataset = trainer.train_loader.dataset
    for index in dataset.buffer:
        dataset.ims[index] = None
    dataset.buffer.clear()
    for index in tree["drawn"]:
        dataset.load_image(index)


def _loads_here(trainer: Any) -> bool:
    """True: the images are loaded in this process, one batch at a time, and its data set buffers them."""
    loader = trainer.train_loader
    here = getattr(loader, "num_workers", 1) == 0 and getattr(loader.dataset, "cache", "ram") != "ram"
    return here and isinstance(getattr(loader.dataset, "buffer", None), list)


class Cadence:
    """Has the first optimizer step after a start within an epoch come when it would have come.

    The loop takes a step where `accumulate` batches have passed since the last one, and forgets at its start when that
    was. Until the first step is taken, `accumulate` is set so that the comparison comes out right.
    """

    def __init__(self, last_step: int) -> None:
        self._last_step = last_step  # batches since epoch 0, as the loop counts
        self._held: int | None = None  # what we set; the loop writes the true value over it in a warm-up
        self._true = 1

    def before_step(self, trainer: Any, batch: int) -> None:
        """`batch`, from 0 since epoch 0, is about to be trained."""
        if trainer.accumulate != self._held:
            self._true = trainer.accumulate
        due = batch - self._last_step >= self._true
        self._held = trainer.accumulate = self._true if due else batch + 2  # the loop's own last step is -1

    def stepped(self, trainer: Any) -> None:
        """The first step was taken: the loop counts right from here on."""
        if trainer.accumulate == self._held:
            trainer.accumulate = self._true
