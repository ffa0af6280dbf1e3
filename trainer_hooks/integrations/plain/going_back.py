"""Snapshots of a loop written by hand, and its way back to one: at the end of a batch, and without leaving the loop."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from trainer_hooks.integrations.plain.plan_in_force import PlanError, PlanInForce
from trainer_hooks.integrations.plain.saved_state import SavedState
from trainer_hooks.recorder.recorder import Recorder
from trainer_hooks.snapshots import SnapshotTaker, seconds_between
from trainer_hooks.snapshots.file import SnapshotFileError, read_verified
from trainer_hooks.snapshots.objects import StateMismatchError
from trainer_hooks.spool import Save
from trainer_hooks.wire.messages import Order
from trainer_hooks.wire.runfolder import Plan, RunFolderError, read

REFUSALS = (OSError, RunFolderError, PlanError, SnapshotFileError, StateMismatchError)  # nothing was changed


class GoingBack:
    """Of one training whose state can be saved and put back."""

    def __init__(self, state: SavedState, recorder: Recorder, optimizer: Any, base_rates: tuple[float, ...]) -> None:
        self._state, self._recorder, self._optimizer, self._base_rates = state, recorder, optimizer, base_rates
        self._taker = SnapshotTaker(recorder.probe, seconds_between())
        self.in_force: PlanInForce | None = None  # None: the loop's own settings hold

    def batch_ended(self) -> None:
        """A healthy batch has ended, and has taken its step: save the state where that is due."""
        if not self._taker.due:
            return
        epoch, batch, counted = self._recorder.epoch, self._recorder.batch, self._recorder.counted
        save = Save(
            epoch=epoch - 1,
            ordinal=self._recorder.probe.identity.ordinal,
            batches=counted.batches,
            nonfinite_batches=counted.nonfinite_batches,
            is_best=False,
            extra_batches=batch + 1,
        )
        self._taker.take(lambda: self._state.tree(epoch, batch), save)

    def go_back(self, order: Order) -> tuple[str, dict[str, str]]:
        """Put the state of the order's plan back, and its settings in force. What was done, and the settings read back.

        Raises one of REFUSALS where that can't be done, with nothing changed.
        """
        folder = self._recorder.probe.identity.folder
        plan = read(folder.root / Path(order.plan).name if order.plan else folder.adjustment(order.id), Plan)
        if plan.snapshot is None:
            raise StateMismatchError(f"plan {plan.id} names no snapshot, and only its script can read its checkpoints")
        tree = read_verified(Path(plan.snapshot.path), plan.snapshot.digest)
        self._state.check(tree)
        in_force = None if plan.own_settings else PlanInForce(plan, self._optimizer, self._base_rates)
        self._state.put_back(tree)
        if bad := self._state.first_bad():
            raise RuntimeError(f"the state was put back, and {bad} is not finite")
        self._recorder.read_delayed()  # those that are still on their way are of the state that is given up
        self.in_force = in_force
        where = f"the state after batch {plan.snapshot.extra_batches} of epoch {plan.start_epoch} is put back"
        read_back = in_force.read_back(self._optimizer) if in_force else {}
        return f"{where}, and the loop goes on where it is", read_back


def wants_snapshots() -> bool:
    """True: this run asks for them, and it is one process: ranks would have to agree on the batch."""
    distributed = torch.distributed
    several = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
    return seconds_between() > 0 and not several and int(os.environ.get("WORLD_SIZE", "1")) <= 1
