"""One training of one rank: what happens at each of the trainer's callbacks, and what is sent of it.

Nothing here may raise into the trainer but LeaveTraining and, at the start, the exit that a plan demands: attachment.py
calls every method through the session's fail_open.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.fail_open import FailOpen
from trainer_hooks.integrations.ultralytics import events, plan_settings, signals, start, trainer_state
from trainer_hooks.integrations.ultralytics.carry_out import OrderAnswer
from trainer_hooks.integrations.ultralytics.going_back import check_goes_back, check_needed, open_again, put_files_back
from trainer_hooks.integrations.ultralytics.in_process import InProcess
from trainer_hooks.integrations.ultralytics.loop import Loop
from trainer_hooks.integrations.ultralytics.mixed_names import name_mixed_images
from trainer_hooks.integrations.ultralytics.open_mosaic import OpenMosaic
from trainer_hooks.integrations.ultralytics.plan_settings import apply_before_setup
from trainer_hooks.integrations.ultralytics.process import Training
from trainer_hooks.integrations.ultralytics.snapshots import Snapshots, StartWithin
from trainer_hooks.recorder.assess import Counted
from trainer_hooks.recorder.healed import Healed
from trainer_hooks.recorder.probe_like import ProbeLike
from trainer_hooks.recorder.recorder import send_end
from trainer_hooks.recorder.started import training_started
from trainer_hooks.snapshots import Tree, seconds_between
from trainer_hooks.snapshots.objects import StateMismatchError
from trainer_hooks.spool import Save
from trainer_hooks.wire.messages import PhaseChanged, TrainingStarted
from trainer_hooks.wire.plan import Plan


class Session:
    """The hooks' state for one trainer. Holds no reference to it; every callback brings it along."""

    def __init__(self, training: Training, probe: ProbeLike, rank: int, *, guard_acts: bool = True) -> None:
        self.training = training
        self.probe = probe
        self.fail_open = FailOpen(probe.event)
        self.loop: Loop | None = None  # None: not bound yet, or it could not be
        self._guard_acts = guard_acts
        self._counted = Counted()
        self._healed = Healed(self._counted)
        self._rank = rank
        self._unnamed: TrainingStarted | None = None  # the start as it was sent without names of the loss components
        self.in_process: InProcess | None = None  # None: this training can't go back in its process
        self._going_back: tuple[Plan, Tree, OrderAnswer] | None = None  # at the end of this batch
        self._start_epoch: int | None = None  # the trainer's own, while its loop begins again elsewhere
        self._accumulate, self._batch_size = 1, 0  # nominal, as they were set up
        self._mosaic = OpenMosaic()
        self._phase = ""
        self._epoch_open = False
        self._drawing = False  # the epoch's first batch was delivered
        self._records = True  # False: that failed too often
        self._epoch_began_s = 0.0
        self._finding = ""
        self.fail_open.run("names of mixed images", name_mixed_images)
        self._snapshots = Snapshots(probe, self._counted, training.ordinal, seconds_between())
        self._no_means = False  # every batch of the epoch was bad and cured: its means do not show damage

    # --- at the start ------------------------------------------------------------------------------------------------

    def begins(self, trainer: Any) -> None:
        """Its train() is about to run."""
        if self._takes_snapshots(trainer):
            self.in_process = InProcess(lambda: self._going_back is not None, self._go_back)
            self.in_process.attach(trainer)

    def on_pretrain_routine_start(self, trainer: Any) -> None:
        """The trainer is about to build its data sets and its optimizer."""
        if (plan := self.training.plan) is not None:
            start.fail_closed("setting the arguments", lambda: apply_before_setup(plan.settings, trainer))

    def on_pretrain_routine_end(self, trainer: Any) -> None:
        """Everything of the trainer exists: bind to it, and put the plan in force if there is one."""
        plan = self.training.plan
        self._accumulate, self._batch_size = trainer.accumulate, trainer.batch_size
        if plan is None:
            self._bind(trainer)
            self.fail_open.run("resumed checkpoint", self._offer_resumed, trainer)
            return
        start.check_epoch(plan, trainer)
        within = start.put_back_within(plan, trainer, self._snapshots.loader)
        start.fail_closed("taking up the training", lambda: self._bind(trainer))
        if self.loop is not None:
            self.loop.start_within = within
        start.fail_closed("applying the settings", lambda: self.put_in_force(plan, trainer))
        if within is None or not within.same_batches:
            start.fail_closed("seeding the loader", lambda: start.draw_other_batches(plan, trainer))

    def _offer_resumed(self, trainer: Any) -> None:
        """The file that the training goes on from is examined like one that it saves; nothing waits for that."""
        source = getattr(trainer.args, "resume", None)
        if self._rank or int(trainer.start_epoch) <= 0 or not isinstance(source, str | Path):
            return
        save = Save(int(trainer.start_epoch), self.training.ordinal, 0, 0, is_best=False, resumed=True)
        self.probe.checkpoint(Path(source).absolute(), save)

    def _bind(self, trainer: Any) -> None:
        if self._takes_snapshots(trainer):
            self.fail_open.run("loader", self._snapshots.loader.follow, trainer.train_loader)
        self.loop = Loop(
            trainer,
            self.probe,
            self.fail_open,
            counted=self._counted,
            rank=self._rank,
            guard_acts=self._guard_acts,
        )
        self.loop.attach(trainer, self._recover)

    def _takes_snapshots(self, trainer: Any) -> bool:
        """One process alone: ranks would have to agree on the batch. With `time=` the epochs' number changes."""
        alone = self._rank == 0 and getattr(trainer, "world_size", 0) <= 1
        return alone and not getattr(trainer.args, "time", None) and self._snapshots.wanted

    def put_in_force(self, plan: Plan, trainer: Any) -> dict[str, str]:
        """Apply the plan's settings, at a start or in place; get what they read afterwards. Raises PlanError."""
        if self.loop is None:
            raise RuntimeError("the hooks are not bound to this trainer: a plan can't be put in force")
        return self.loop.put_in_force(plan, trainer)

    def on_train_start(self, trainer: Any) -> None:
        """The trainer is about to draw its first batch."""
        guarded = self.loop is not None and self.loop.guard.acts
        goes_back = self.in_process is not None
        facts = events.training_facts(trainer, self.training, guarded=guarded, goes_back=goes_back)
        started = training_started(facts, trainer.optimizer, trainer.device, self.probe.identity)
        self._unnamed = None if started.part_names else started
        self.probe.event(started)

    def _name_parts(self, trainer: Any) -> None:
        """Some releases learn the names of the loss components from the first batch only: send the start once more.

        It can't wait for them: a first batch that never comes must be noticed.
        """
        names = signals.part_names(trainer)
        if self._unnamed is not None and names:
            self.probe.event(msgspec.structs.replace(self._unnamed, part_names=names))
            self._unnamed = None

    # --- epochs ------------------------------------------------------------------------------------------------------

    def on_train_epoch_start(self, trainer: Any) -> None:
        """Also where an epoch is redone, after a recovery or with a smaller batch."""
        self._epoch_open, self._drawing = True, False
        if self._start_epoch is not None:
            trainer.start_epoch, self._start_epoch = self._start_epoch, None
        self.fail_open.run("mosaic", self._mosaic.epoch_began, trainer)
        self._epoch_began_s = time.monotonic()
        self._enter_phase(trainer, "train")
        if self.loop is not None:
            self.loop.epoch_began(trainer)
        if self._takes_snapshots(trainer):
            self.fail_open.run("loader", self._snapshots.loader.follow, trainer.train_loader)

    def on_train_epoch_end(self, trainer: Any) -> None:
        """The last moment before validation and save: nothing poisoned may go into either unseen."""
        self._enter_phase(trainer, "validate")
        loop = self.loop
        if loop is None:
            return
        loop.recorder.read_delayed()
        self._no_means = trainer.tloss is None
        if self._no_means:  # the trainer needs something to print
            trainer.tloss = trainer.loss_items
        found = loop.guard.examine()
        self._finding = found.finding
        if found.first_bad:
            loop.recorder.send_evidence(events.found_at_epoch_end(trainer, loop.recorder.batch, found))

    def on_model_save(self, trainer: Any) -> None:
        """The file is written and complete; the copy is made elsewhere."""
        if self._finding and self.loop is not None:  # newer releases put a bad average right before they save it
            self._finding = self.loop.guard.examine().finding
        save = Save(
            epoch=trainer.epoch + 1,
            ordinal=self.training.ordinal,
            batches=self._counted.batches,
            nonfinite_batches=self._counted.nonfinite_batches,
            is_best=bool(trainer.best_fitness == trainer.fitness),
            fitness=signals.as_number(trainer.fitness),
            state_finding=self._finding,
        )
        self.probe.checkpoint(Path(trainer.last).absolute(), save)

    def on_fit_epoch_end(self, trainer: Any) -> None:
        """Fires once more after the final evaluation, with no epoch to it."""
        if self._epoch_open:
            self._send_epoch(trainer, redone=False)

    def _send_epoch(self, trainer: Any, *, redone: bool) -> None:
        self._epoch_open = False
        self.probe.event(events.epoch_ended(trainer, self._epoch_began_s, redone=redone))

    def _recover(self, trainer: Any, recovery: Any, epoch: int) -> bool:
        """In place of _handle_nan_recovery: where it throws the epoch away, what we know of the state is stale."""
        means = trainer.tloss
        if self._no_means:  # older releases decide by the means instead of the loss
            trainer.tloss = None
        try:
            redo = bool(recovery(epoch))
        finally:
            trainer.tloss = means
        self.fail_open.run("recovery", self._recovered if redo else self._saving, trainer)
        return redo

    def _recovered(self, trainer: Any) -> None:
        self._send_epoch(trainer, redone=True)
        if self.loop is None:
            return
        self.loop.guard.bind(trainer.ema)
        self.loop.guard.refresh()
        if self.loop.in_force is not None:
            self.loop.in_force.apply_again(trainer)

    def _saving(self, trainer: Any) -> None:
        self._enter_phase(trainer, "save")

    def _enter_phase(self, trainer: Any, phase: str) -> None:
        if phase != self._phase:
            self._phase = phase
            self.probe.event(PhaseChanged(time.time(), trainer.epoch + 1, phase))

    # --- batches, orders, the end ------------------------------------------------------------------------------------

    def on_train_batch_start(self, trainer: Any) -> None:
        """The loader has delivered."""
        if self.loop is not None:
            self.loop.batch_began(trainer)
            if not self._drawing:
                self._drawing = True
                self._snapshots.loader.epoch_began()

    def on_train_batch_end(self, trainer: Any) -> None:
        """Record the batch, then carry out an order if there is one. Raises LeaveTraining on a stop."""
        if self.loop is None:
            return
        if self._unnamed is not None:
            self.fail_open.run("start", self._name_parts, trainer)
        fit = False
        if self._records:
            try:
                fit = self.loop.batch_ended(trainer)
            except Exception as error:  # noqa: BLE001 - as FailOpen.run
                self._records = self.fail_open.failed("batch", error)
        if fit and self._snapshots.wanted and self._snapshots.taker.due and self._takes_snapshots(trainer):
            self.fail_open.run("snapshot", self._snapshots.take, trainer, self.loop.recorder.batch)
        order = self.probe.order()
        if order is not None:
            answer = OrderAnswer(order, self.probe, trainer, self.loop.recorder.batch)
            answer.carry_out(
                lambda plan: self.put_in_force(plan, trainer),
                lambda plan, answer: self._prepare_to_go_back(plan, answer, trainer),
                lambda plan: check_needed(trainer, plan, answer.batch, self._healed),
            )

    def _prepare_to_go_back(self, plan: Plan, answer: OrderAnswer, trainer: Any) -> None:
        """Read the state and see that it fits; the loop is left when every callback of this batch has run."""
        if self.in_process is None or plan.snapshot is None:
            raise StateMismatchError("this training can't go back in its process")
        tree = start.read_snapshot(plan.snapshot)
        check_goes_back(trainer, tree, self._batch_size, self._mosaic)
        trainer_state.check(trainer, tree)
        plan_settings.check(plan.settings, trainer.optimizer)
        self._going_back = plan, tree, answer

    def _go_back(self, trainer: Any) -> None:
        """In place of the set-up of a loop that begins again. What raises here ends the training, as any error does."""
        assert self._going_back is not None
        assert self.loop is not None
        (plan, tree, answer), self._going_back = self._going_back, None
        put_files_back(trainer, plan)
        open_again(trainer, tree, self._mosaic)
        self._start_epoch, trainer.accumulate = trainer.start_epoch, self._accumulate
        within = StartWithin(trainer, tree, self._snapshots.loader, same_batches=plan.replay)
        self.loop.guard.bind(trainer.ema)
        self.loop.guard.refresh()
        self.loop.start_within = within
        read_back = self.put_in_force(plan, trainer)
        if not plan.replay:
            start.draw_other_batches(plan, trainer)
        answer.gone_back(f"batch {within.batches} of epoch {plan.start_epoch}", read_back)

    def ended(self, trainer: Any, how: str, detail: str) -> None:
        """train() is over, in one way or another. What is not sent yet goes out by itself, or when the probe closes."""
        if self.in_process is not None:
            self.fail_open.run("detach", self.in_process.detach, trainer)
        if self.loop is not None:
            self.fail_open.run("detach", self.loop.detach, trainer)
        self.fail_open.run("start", self._name_parts, trainer)
        epoch = int(getattr(trainer, "epoch", trainer.start_epoch)) + 1
        if self.loop is None:
            send_end(self.probe, how, detail, epoch, signals.metrics(trainer))
            return
        self.loop.recorder.ended(how, detail, epoch, signals.metrics(trainer))
