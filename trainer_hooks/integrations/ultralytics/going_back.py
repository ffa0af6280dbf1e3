"""What a trainer needs beside its state to go on from an earlier one in its process: its files, and what must fit."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path
from typing import Any

from trainer_hooks.integrations.ultralytics import trainer_state
from trainer_hooks.integrations.ultralytics.framework import FRAMEWORK
from trainer_hooks.integrations.ultralytics.open_mosaic import OpenMosaic, closing_epoch
from trainer_hooks.recorder.healed import Healed
from trainer_hooks.snapshots import Tree
from trainer_hooks.snapshots.objects import StateMismatchError
from trainer_hooks.tensors import unwrap
from trainer_hooks.wire.digest import sha256_of
from trainer_hooks.wire.plan import Checkpoint, Plan


def check_goes_back(trainer: Any, tree: Tree, nominal_batch: int, mosaic: OpenMosaic) -> None:
    """Raises StateMismatchError where the trainer has changed since in a way that its objects can't go back from."""
    if trainer.batch_size != nominal_batch:
        raise StateMismatchError(f"the batch size is {trainer.batch_size} now, it was {nominal_batch}")
    if _closed_since(trainer, tree) and not mosaic.can_open(trainer):
        at = closing_epoch(trainer) + 1
        raise StateMismatchError(f"mosaic was closed at epoch {at}, and this data set can't open it again")
    criterion = getattr(unwrap(trainer.model), "criterion", None)
    if hasattr(criterion, "updates") and not tree.get("schedule") and tree["epoch"] != trainer.epoch:
        raise StateMismatchError("the weights of the loss follow the epochs, and the snapshot does not hold them")


def open_again(trainer: Any, tree: Tree, mosaic: OpenMosaic) -> None:
    """Open mosaic where it was closed since. Call `check_goes_back` before."""
    if _closed_since(trainer, tree):
        mosaic.open(trainer)


def _closed_since(trainer: Any, tree: Tree) -> bool:
    closing = closing_epoch(trainer)
    return bool(tree["epoch"] < closing <= trainer.epoch)


def check_needed(trainer: Any, plan: Plan, batch: int, healed: Healed) -> None:
    """Raises NotNeededError where the trainer has recovered by itself after batch `batch`, from 0, of the epoch.

    Its own recovery goes back to the start of the epoch: a snapshot within it is then ahead, and is gone on from.
    """
    ahead = plan.target is not None and plan.target.holds > (int(trainer.epoch), batch + 1)
    if plan.for_nonfinite and not ahead and getattr(trainer, "world_size", 0) <= 1:
        healed.check(unwrap(trainer.model), trainer_state.tensors(trainer), [trainer.optimizer])


def put_files_back(trainer: Any, plan: Plan) -> None:
    """Take the files of the abandoned branch away: rows of the results, and checkpoints saved after the plan's state.

    What is taken away is kept in a folder beside. Raises OSError.
    """
    files = FRAMEWORK.files
    assert files is not None
    held = plan.start_epoch - 1
    aside = Path(trainer.wdir) / f"abandoned-{plan.id}"
    pattern = re.compile(files.epoch_pattern)
    for path in sorted(Path(trainer.wdir).glob("*.pt")):
        match = pattern.fullmatch(path.name)
        if match and int(match[1]) - files.epoch_first + 1 > held:
            _move(path, aside)
    _replace(Path(trainer.last), plan.checkpoint, aside)
    _replace(Path(trainer.best), plan.best, aside)
    _cut_results(Path(trainer.csv), held, aside)


def _replace(path: Path, wanted: Checkpoint | None, aside: Path) -> None:
    """Put the wanted file in the place of `path`; None: there was none yet."""
    if path.is_file() and wanted is not None and _digest(path) == wanted.digest:
        return
    if path.is_file():
        _move(path, aside)
    if wanted is not None and Path(wanted.path).is_file():
        partial = path.with_name(f".{path.name}.part")
        shutil.copyfile(wanted.path, partial)
        partial.replace(path)


def _move(path: Path, aside: Path) -> None:
    aside.mkdir(exist_ok=True)
    path.replace(aside / f"abandoned-{path.name}")  # a trainer's own resume takes the newest last*.pt of a folder


def _cut_results(path: Path, held: int, aside: Path) -> None:
    if not path.is_file():
        return
    text = path.read_text(errors="surrogateescape")
    lines = text.splitlines(keepends=True)
    kept = "".join(line for place, line in enumerate(lines) if place == 0 or _epoch_of(line) <= held)
    if kept == text:
        return
    aside.mkdir(exist_ok=True)
    shutil.copyfile(path, aside / path.name)
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(kept, errors="surrogateescape")
    partial.replace(path)


def _epoch_of(line: str) -> float:
    first = next(csv.reader([line]), [""])
    try:
        return float(first[0])
    except (ValueError, IndexError):
        return float("inf")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return sha256_of(file)
