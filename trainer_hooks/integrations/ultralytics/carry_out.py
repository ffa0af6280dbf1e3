"""Does what the daemon orders, at a batch boundary, and leaves the receipt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer_hooks.integrations.ultralytics.plan_settings import PlanError
from trainer_hooks.orders import LeaveTraining
from trainer_hooks.recorder.healed import NotNeededError
from trainer_hooks.recorder.probe_like import ProbeLike
from trainer_hooks.snapshots.file import SnapshotFileError
from trainer_hooks.snapshots.objects import StateMismatchError
from trainer_hooks.wire.document_io import RunFolderError, read
from trainer_hooks.wire.messages import Order
from trainer_hooks.wire.plan import Plan
from trainer_hooks.wire.words import OrderOutcome

LEAVE_FLUSH_S = 2.0  # the receipt is on disk before it; this only makes the daemon's picture complete


class OrderAnswer:
    """An order at a batch boundary of a trainer, and the ways to answer it."""

    def __init__(self, order: Order, probe: ProbeLike, trainer: Any, batch: int) -> None:
        self._order, self._probe, self._trainer = order, probe, trainer
        self._epoch, self.batch = int(trainer.epoch) + 1, batch

    def carry_out(
        self,
        put_in_force: Callable[[Plan], dict[str, str]],
        prepare: Callable[[Plan, OrderAnswer], None],
        check_needed: Callable[[Plan], None],
    ) -> None:
        """Do what the order says; `put_in_force` applies a plan in place and gives what its settings read afterwards.

        `prepare` makes ready to go back within the process, and answers once that is done. `check_needed` raises
        NotNeededError where what the plan goes back for is over.

        Raises LeaveTraining on a stop, after its receipt is on disk; OSError where it can't be written.
        """
        kind = self._order.kind
        if kind == "stop":
            self._stop(check_needed)
        elif kind == "adjust":
            self._adjust(put_in_force)
        elif kind == "go_back":
            self._go_back(prepare, check_needed)
        else:
            self._settle("refused", f"kind {kind!r} is not known here: install the same trainwarden on both sides")

    def _stop(self, check_needed: Callable[[Plan], None]) -> None:
        if self._order.plan:
            try:
                check_needed(self._plan())
            except NotNeededError as error:
                self._settle(OrderOutcome.DECLINED, str(error))
                return
            except RunFolderError as error:
                self._settle("refused", f"training goes on: {error}")
                return
        self._settle("applied", f"left at epoch {self._epoch}, batch {self.batch}")
        self._probe.flush(LEAVE_FLUSH_S)
        raise LeaveTraining(self._order)

    def _adjust(self, put_in_force: Callable[[Plan], dict[str, str]]) -> None:
        if getattr(self._trainer, "world_size", 0) > 1:
            self._settle("refused", "settings can't be changed on one rank alone: roll back instead")
            return
        try:
            read_back = put_in_force(self._plan())
        except (RunFolderError, PlanError) as error:
            self._settle("refused", f"training goes on as before: {error}")
        except Exception as error:
            self._settle("failed", f"{type(error).__name__}: {error}")
            raise
        else:
            self._settle("applied", f"settings of {self._order.plan or self._order.id} in force", read_back)

    def _go_back(self, prepare: Callable[[Plan, OrderAnswer], None], check_needed: Callable[[Plan], None]) -> None:
        try:
            plan = self._plan()
            check_needed(plan)
            prepare(plan, self)
        except NotNeededError as error:
            self._settle(OrderOutcome.DECLINED, str(error))
        except (OSError, RunFolderError, PlanError, SnapshotFileError, StateMismatchError) as error:
            self._settle("refused", str(error))

    def gone_back(self, place: str, read_back: dict[str, str]) -> None:
        """The older state is in place, and the loop begins again."""
        self._settle("applied", f"gone back to {place}", read_back)

    def _settle(self, outcome: str, detail: str, read_back: dict[str, str] | None = None) -> None:
        self._probe.settle(self._order, outcome, detail, self._epoch, self.batch, read_back or {})

    def _plan(self) -> Plan:
        """The plan that the order names. Raises RunFolderError where it is missing or no plan."""
        folder, order = self._probe.identity.folder, self._order
        path = folder.root / Path(order.plan).name if order.plan else folder.adjustment(order.id)
        return read(path, Plan)
