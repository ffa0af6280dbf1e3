"""Snapshots of a loop written by hand, its two ways back to one, and its settings.

At the end of a batch its state is put back, or other settings are put in force, and the loop goes on where it is. In a
new process the loop asks where to start, and gets everything back.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch

from trainer_hooks.integrations.plain.plan_in_force import PlanError, PlanInForce
from trainer_hooks.integrations.plain.planned_start import refuse_to_start
from trainer_hooks.integrations.plain.saved_state import SavedState
from trainer_hooks.recorder.healed import Healed, NotNeededError
from trainer_hooks.recorder.recorder import Recorder
from trainer_hooks.snapshots import SnapshotTaker, Tree, seconds_between
from trainer_hooks.snapshots.file import SnapshotFileError, read_verified
from trainer_hooks.snapshots.objects import StateMismatchError
from trainer_hooks.spool import Save
from trainer_hooks.wire.document_io import RunFolderError, read
from trainer_hooks.wire.messages import Order, PlanApplied
from trainer_hooks.wire.plan import Plan
from trainer_hooks.wire.words import ReadBack

REFUSALS = (OSError, RunFolderError, PlanError, SnapshotFileError, StateMismatchError)  # nothing was changed


class GoingBack:
    """Of one training whose state can be saved and put back."""

    def __init__(self, state: SavedState, recorder: Recorder, optimizer: Any, base_rates: tuple[float, ...]) -> None:
        self._state, self._recorder, self._optimizer, self._base_rates = state, recorder, optimizer, base_rates
        self._healed = Healed(recorder.counted)
        self._taker = SnapshotTaker(recorder.probe, seconds_between())
        self.in_force: PlanInForce | None = None  # None: the loop's own settings hold
        self.startable = False  # True: its script asks where to start, and a snapshot holds all that it needs then
        self._unproven: Plan | None = None  # it was started from this plan, and has taken no step yet

    def batch_ended(self, *, stepped: bool, healthy: bool) -> None:
        """Save the state where that is due, after a healthy batch that took its step."""
        if stepped and self._unproven is not None:
            plan, self._unproven = self._unproven, None
            self._recorder.probe.event(
                PlanApplied(time.time(), plan.id, ReadBack.FIRST_STEP, plan.start_epoch, self._read_back(), ())
            )
        if not (stepped and healthy and self._taker.due):
            return
        epoch, batch, counted = self._recorder.epoch, self._recorder.batch, self._recorder.counted
        save = Save(
            epoch=epoch - 1,
            ordinal=self._recorder.probe.identity.ordinal,
            batches=counted.batches,
            nonfinite_batches=counted.nonfinite_batches,
            is_best=False,
            extra_batches=batch + 1,
            startable=self.startable,
        )
        self._taker.take(lambda: self._state.tree(epoch, batch, self._recorder.batches_per_epoch), save)

    def go_back(self, order: Order) -> tuple[str, dict[str, str]]:
        """Put the state of the order's plan back, and its settings in force. What was done, and the settings read back.

        Raises one of REFUSALS where that can't be done, and NotNeededError; nothing was changed then.
        """
        plan = self._plan_of(order)
        self._check_needed(plan)
        tree, in_force = self._checked(plan)
        self._state.put_back(tree)
        if bad := self._state.first_bad():
            raise RuntimeError(f"the state was put back, and {bad} is not finite")
        self._recorder.read_delayed()  # those that are still on their way are of the state that is given up
        self.in_force = in_force
        where = f"the state after batch {tree['batch'] + 1} of epoch {tree['epoch']} is put back"
        return f"{where}, and the loop goes on where it is", self._read_back()

    def not_needed(self, order: Order) -> str:
        """What shows that the training has recovered by itself from what the order is for; empty: it has not."""
        try:
            if order.plan:
                self._check_needed(self._plan_of(order))
        except NotNeededError as error:
            return str(error)
        return ""

    def _check_needed(self, plan: Plan) -> None:
        """Raises NotNeededError."""
        if plan.for_nonfinite:
            self._recorder.read_delayed()
            self._state.check_healed(self._healed)

    def adjust(self, order: Order) -> tuple[str, dict[str, str]]:
        """Put the settings of the order's plan in force. As `go_back`."""
        plan = self._plan_of(order)
        self.in_force = self._settings_of(plan)
        return f"settings of {order.plan or order.id} in force", self._read_back()

    def start(self, plan: Plan | None) -> tuple[int, int]:
        """Epochs and batches of the next one that are over; everything is put back where there is a plan.

        After an epoch's last batch these are all of its batches: its end, with a validation or a scheduler, is to come.
        Exits with 75 where the plan can't be followed.
        """
        if lacks := self._state.lacks():
            if plan is not None:
                refuse_to_start(f"plan {plan.id} can't be followed: {lacks}")
            raise StateMismatchError(f"no new start is made from a snapshot: {lacks}")
        self.startable = True
        if plan is None:
            return 0, 0
        try:
            tree, in_force = self._checked(plan)
            self._state.start_from(tree)
        except Exception as error:  # noqa: BLE001 - whatever it is, the plan is not followed
            refuse_to_start(f"plan {plan.id} can't be followed: {error}")
        self.in_force, self._unproven = in_force, plan
        self._recorder.epoch, self._recorder.batch = int(tree["epoch"]), int(tree["batch"])
        return self._recorder.epoch - 1, self._recorder.batch + 1

    def _checked(self, plan: Plan) -> tuple[Tree, PlanInForce | None]:
        if plan.snapshot is None:
            raise StateMismatchError(f"plan {plan.id} names no snapshot, and only its script can read its checkpoints")
        tree = read_verified(Path(plan.snapshot.path), plan.snapshot.digest)
        self._state.check(tree, self._recorder.batches_per_epoch)
        return tree, self._settings_of(plan)

    def _plan_of(self, order: Order) -> Plan:
        folder = self._recorder.probe.identity.folder
        return read(folder.root / Path(order.plan).name if order.plan else folder.adjustment(order.id), Plan)

    def _settings_of(self, plan: Plan) -> PlanInForce | None:
        return None if plan.own_settings else PlanInForce(plan, self._optimizer, self._base_rates)

    def _read_back(self) -> dict[str, str]:
        return {} if self.in_force is None else self.in_force.read_back(self._optimizer)


def wants_snapshots() -> bool:
    """True: this run asks for them, and it is one process: ranks would have to agree on the batch."""
    distributed = torch.distributed
    several = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
    return seconds_between() > 0 and not several and int(os.environ.get("WORLD_SIZE", "1")) <= 1
