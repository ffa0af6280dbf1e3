"""Starts a training from a plan, or not at all: whatever is wrong with an expected plan ends the process with 75.

Reads the plan that the environment names, before the trainer touches a folder.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from trainer_hooks.integrations.ultralytics.loader_position import LoaderPosition
from trainer_hooks.integrations.ultralytics.process import Training, refuse_to_start
from trainer_hooks.integrations.ultralytics.snapshots import StartWithin
from trainer_hooks.snapshots import file as snapshot_file
from trainer_hooks.snapshots.file import SnapshotFileError
from trainer_hooks.snapshots.objects import StateMismatchError
from trainer_hooks.wire.digest import sha256_of
from trainer_hooks.wire.document_io import RunFolderError, read
from trainer_hooks.wire.plan import Checkpoint, Plan
from trainer_hooks.wire.runfolder import ENV_GENERATION, ENV_PLAN

T = TypeVar("T")


def with_plan(training: Training) -> Training:
    """The training with its plan, if one is expected and made for it. Exits with 75 where that is not known."""
    path = os.environ.get(ENV_PLAN)
    if not path:
        return training
    try:
        plan = read(Path(path), Plan)
    except RunFolderError as error:
        refuse_to_start(f"{error}; put the plan back, or start without it by unsetting {ENV_PLAN}")
    if not training.is_for(plan):
        return training
    if fault := _fault(plan, training):
        refuse_to_start(f"{path}: {fault}")
    return dataclasses.replace(training, plan=plan)


def overrides_for(plan: Plan, overrides: dict[str, Any]) -> dict[str, Any]:
    """The trainer's overrides, resumed from the plan's checkpoint. Verifies the checkpoint first, exits with 75.

    A snapshot of the first epoch has no checkpoint below it: the script's own start, in the same folder.
    """
    checkpoint = plan.checkpoint
    if checkpoint is None and plan.snapshot is not None and plan.save_dir:
        folder = Path(plan.save_dir)
        return {**overrides, "project": str(folder.parent), "name": folder.name, "exist_ok": True}
    if checkpoint is None:
        refuse_to_start(f"plan {plan.id} names no checkpoint: a rollback needs one")
    try:
        found = _digest(Path(checkpoint.path))
    except OSError as error:
        refuse_to_start(f"{checkpoint.path}: can't be read ({error.strerror}); the plan starts from it")
    if found != checkpoint.digest:
        refuse_to_start(
            f"{checkpoint.path}: has sha256 {found}, the plan says {checkpoint.digest}; it was changed since"
        )
    return {**overrides, "resume": checkpoint.path}


def fail_closed(what: str, body: Callable[[], T]) -> T:
    """What `body` returns. Its exceptions are shown and end the process with 75: the plan could not be followed."""
    try:
        return body()
    except Exception as error:  # noqa: BLE001  any of them means that the plan is not followed
        traceback.print_exc()
        refuse_to_start(f"{what} failed under a plan ({type(error).__name__}: {error})")


def check_folder(plan: Plan, trainer: Any) -> None:
    """Exits with 75 where the resumed trainer would write into another folder than the plan's."""
    if plan.save_dir and Path(plan.save_dir).resolve() != Path(trainer.save_dir).resolve():
        refuse_to_start(f"plan {plan.id} is for {plan.save_dir}: this training would write to {trainer.save_dir}")


def check_epoch(plan: Plan, trainer: Any) -> None:
    """Exits with 75 where the trainer did not resume at the plan's epoch, whatever the reason."""
    start = int(trainer.start_epoch) + 1
    if start != plan.start_epoch:
        refuse_to_start(f"the trainer starts at epoch {start}: plan {plan.id} resumes at {plan.start_epoch}")


def put_back_within(plan: Plan, trainer: Any, loader: LoaderPosition) -> StartWithin | None:
    """The state of the plan's snapshot, put into the trainer; None: there is none, or it can't be used.

    Then the training begins at the start of its epoch, which loses little; a person is told.
    """
    if plan.snapshot is None:
        return None
    try:
        tree = read_snapshot(plan.snapshot)
        loader.follow(trainer.train_loader)
        return StartWithin(trainer, tree, loader, same_batches=plan.replay)
    except (OSError, SnapshotFileError, StateMismatchError) as error:
        print(f"trainwarden: epoch {plan.start_epoch} is begun anew: {error}", file=sys.stderr, flush=True)
        return None


def reseed(plan: Plan, trainer: Any) -> None:
    """Seed this generation apart from the one it replaces; for the trainer's entry into its set-up."""
    from ultralytics.utils import RANK  # noqa: PLC0415  never import a framework before its user does
    from ultralytics.utils.torch_utils import init_seeds  # noqa: PLC0415

    init_seeds(trainer.args.seed + 1 + RANK + plan.seed_offset, deterministic=trainer.args.deterministic)


def draw_other_batches(plan: Plan, trainer: Any) -> None:
    """Offset the seeds of the train loader, so that the resumed epoch meets its samples in another order."""
    loader = trainer.train_loader
    generator = getattr(loader, "generator", None)
    if generator is not None:
        generator.manual_seed((generator.initial_seed() + plan.seed_offset) % 2**63)
    sampler: Any = getattr(loader, "sampler", None)
    if isinstance(getattr(sampler, "seed", None), int):
        sampler.seed += plan.seed_offset
    if getattr(loader, "iterator", None) is not None and hasattr(loader, "reset"):
        loader.reset()


def _fault(plan: Plan, training: Training) -> str:
    """Why a plan for this ordinal can't be this training's; empty: it is."""
    generation = os.environ.get(ENV_GENERATION, "")
    if plan.version != 1:
        return f"is a plan of version {plan.version}: this side reads version 1, install the same trainwarden on both"
    if generation and generation != str(plan.generation):
        return f"is for generation {plan.generation}: this is generation {generation}"
    if plan.arguments_digest and plan.arguments_digest != training.digest:
        return f"is for another training {training.ordinal} of this process: its arguments have changed since"
    return ""


def read_snapshot(snapshot: Checkpoint) -> Any:
    """Raises OSError, SnapshotFileError."""
    return snapshot_file.read_verified(Path(snapshot.path), snapshot.digest)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return sha256_of(file)
