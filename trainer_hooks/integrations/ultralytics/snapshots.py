"""Takes snapshots of a trainer within its epochs, and starts a trainer from one."""

from __future__ import annotations

import functools
from typing import Any

from trainer_hooks.integrations.ultralytics import trainer_state as state
from trainer_hooks.integrations.ultralytics.epoch_position import EpochPosition
from trainer_hooks.integrations.ultralytics.loader_position import LoaderPosition
from trainer_hooks.recorder.assess import Counted
from trainer_hooks.recorder.probe_like import ProbeLike
from trainer_hooks.snapshots import SnapshotTaker, Tree, put_back_random
from trainer_hooks.spool import Save


class Snapshots:
    """Of one training. Holds no reference to the trainer."""

    def __init__(self, probe: ProbeLike, counted: Counted, ordinal: int, every_s: float) -> None:
        self._counted, self._ordinal = counted, ordinal
        self.taker = SnapshotTaker(probe, every_s)
        self.wanted = self.taker.wanted  # this run asks for snapshots
        self.loader = LoaderPosition()

    def take(self, trainer: Any, batch: int) -> None:
        """Save the state after batch `batch` of the epoch, from 0, which was healthy and took its step."""
        if batch + 1 < len(trainer.train_loader):
            self.taker.take(lambda: state.state_of(trainer, batch, self.loader), self._save(trainer, batch))

    def _save(self, trainer: Any, batch: int) -> Save:
        return Save(
            epoch=int(trainer.epoch),  # ended ones: the present one counts from 0
            ordinal=self._ordinal,
            batches=self._counted.batches,
            nonfinite_batches=self._counted.nonfinite_batches,
            is_best=False,
            extra_batches=batch + 1,
        )


class StartWithin:
    """The start of a trainer's loop from a snapshot, from its set-up until its first optimizer step."""

    def __init__(self, trainer: Any, tree: Tree, loader: LoaderPosition, *, same_batches: bool) -> None:
        """Put the state back. Raises StateMismatchError, with nothing changed."""
        state.check(trainer, tree)
        state.put_back(trainer, tree)
        self._tree = tree
        self.same_batches = same_batches
        self._random_due = same_batches
        self._cadence: state.Cadence | None = state.Cadence(self._batches_at(trainer))
        if same_batches and tree["pass"] is not None:
            arrived = functools.partial(self._arrived, trainer)
            self._random_due = not loader.move_to(tree["pass"], self.batches, arrived) or _has_workers(trainer)
        self._position = EpochPosition(trainer, self.batches)

    @property
    def batches(self) -> int:
        """Of the epoch, which the state holds."""
        return int(self._tree["batch"]) + 1

    @property
    def reached(self) -> bool:
        """True: the loop has counted on from there; False: it began the epoch anew, with the state of the snapshot."""
        return self._position.reached

    def batch_began(self, trainer: Any) -> None:
        """The first batch was delivered."""
        self._position.end()
        if self.reached:
            state.put_back_means(trainer, self._tree)
        else:
            self._cadence = None
        if self._random_due:
            put_back_random(self._tree["random"])

    def before_step(self, trainer: Any, batch: int) -> None:
        """Batch `batch` of the epoch is about to go through the model."""
        if self._cadence is not None:
            self._cadence.before_step(trainer, batch + int(trainer.epoch) * len(trainer.train_loader))

    def stepped(self, trainer: Any) -> None:
        """A step was taken. The loop is as it would be: nothing is left to do."""
        if self._cadence is not None:
            self._cadence.stepped(trainer)

    def _batches_at(self, trainer: Any) -> int:
        return int(self._tree["batch"]) + int(self._tree["epoch"]) * len(trainer.train_loader)

    def _arrived(self, trainer: Any) -> None:
        """Right before the first batch is loaded in this process."""
        if not _has_workers(trainer):
            state.load_images(trainer, self._tree)
            put_back_random(self._tree["random"])


def _has_workers(trainer: Any) -> bool:
    return bool(getattr(trainer.train_loader, "num_workers", 0))
