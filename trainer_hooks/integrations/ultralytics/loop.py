"""The batches of one training: guards their steps and hands what they held to the recorder.

Everything here is on the training's own path: nothing waits for the device beyond what the trainer has waited for, and
what is slow happens after a batch that was bad.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import torch

from trainer_hooks.fail_open import FailOpen
from trainer_hooks.guard import Guard, watch_clipping
from trainer_hooks.integrations.ultralytics import signals
from trainer_hooks.integrations.ultralytics.changes import TrainerSettingsWatch
from trainer_hooks.integrations.ultralytics.plan_in_force import PlanInForce
from trainer_hooks.integrations.ultralytics.plan_settings import group_names
from trainer_hooks.integrations.ultralytics.snapshots import StartWithin
from trainer_hooks.parameter_groups import readings
from trainer_hooks.recorder.assess import Counted, GuardedAssessor
from trainer_hooks.recorder.batch import BatchContents, PendingBatch
from trainer_hooks.recorder.probe_like import ProbeLike
from trainer_hooks.recorder.recorder import Recorder
from trainer_hooks.updates import UpdateSampler, steps_between
from trainer_hooks.wire.messages import HookTrouble
from trainer_hooks.wire.plan import Plan

WRAPPED = (  # methods of a trainer, one instance at a time
    "optimizer_step",
    "preprocess_batch",
    "final_eval",
    "_handle_nan_recovery",
)
NOT_REACHED = "this trainer's loop can't begin within an epoch: the epoch was begun anew with the state of the snapshot"
NEVER = -2  # before the batch -1, at which an epoch begins
LAST_COPY_S = 10.0  # nothing trains any more; a copy of 500 MB takes about a second


class Loop:
    """What is known from one batch to the next. Holds no reference to the trainer; every call brings it along."""

    def __init__(
        self,
        trainer: Any,
        probe: ProbeLike,
        fail_open: FailOpen,
        *,
        counted: Counted,
        rank: int,
        guard_acts: bool,
    ) -> None:
        self.guard = Guard(trainer.model, trainer.optimizer, trainer.scaler, fail_open, acts=guard_acts)
        self.in_force: PlanInForce | None = None
        self.start_within: StartWithin | None = None  # until the first step of a training that began within an epoch
        self.recorder = Recorder(
            probe,
            fail_open,
            trainer.optimizer,
            trainer.device,
            GuardedAssessor(self.guard, counted),
            counted,
            updates=UpdateSampler(trainer.optimizer, steps_between()),
            waits=rank == 0,  # rank 0 reads the loss for its progress bar, the others never wait for the device
            evidence=True,
        )
        self._probe = probe
        self._fail_open = fail_open
        self._changes = TrainerSettingsWatch(group_names(trainer.optimizer))
        self._warm_until = NEVER  # the last batch of this epoch that is within the trainer's warm-up
        self._mixing = False
        self._data_wait_s: float | None = None
        self._contents: BatchContents | None = None
        self._reads_contents = self._enters = self._prepares = True  # False: that failed too often
        self._means_before: Any = None  # trainer.tloss as the batch found it
        self._last_loss: float | None = None  # finite
        self._clip_norm: float | None = None
        self._own_step = False  # the optimizer step is the script's, not Ultralytics'
        self._replaced: dict[str, tuple[bool, Any]] = {}  # by name: was it the instance's own, and what it was

    def attach(self, trainer: Any, recover: Callable[[Any, Any, int], bool]) -> None:
        """Come between the trainer and its steps, its batches and its own recovery from NaN."""
        watch_clipping()
        self._changes.begin(trainer)
        self._own_step = not getattr(trainer.optimizer_step, "__module__", "").startswith("ultralytics.")
        self.recorder.watch_steps(self.around_optimizer)
        for name, ours in zip(
            WRAPPED,
            (
                functools.partial(self.optimizer_step, trainer),
                functools.partial(self.preprocess_batch, trainer),
                self.final_eval,
                None,
            ),
            strict=True,
        ):
            original = getattr(trainer, name, None)
            if original is None:  # a release that has no such method
                continue
            self._replaced[name] = name in vars(trainer), original
            setattr(trainer, name, functools.partial(ours or functools.partial(recover, trainer), original))

    def detach(self, trainer: Any) -> None:
        """Leave nothing of ours on the trainer; what somebody else has put over it since stays."""
        self.guard.release()
        while self._replaced:
            name, (own, original) = self._replaced.popitem()
            if getattr(vars(trainer).get(name), "args", (None,))[-1] is not original:
                continue
            if own:
                setattr(trainer, name, original)
            else:
                delattr(trainer, name)

    def epoch_began(self, trainer: Any) -> None:
        """Also where an epoch is redone, after a recovery or with a smaller batch."""
        recorder = self.recorder
        recorder.batch, recorder.epoch = -1, trainer.epoch + 1
        recorder.batches_per_epoch = len(trainer.train_loader)
        recorder.ended_s = time.monotonic()
        self.guard.follow(trainer.optimizer)
        warmup_batches = signals.warmup_batches(trainer, recorder.batches_per_epoch)  # from epoch 0
        trained = recorder.batches_per_epoch * int(trainer.epoch)
        self._warm_until = warmup_batches - trained if warmup_batches > 0 else NEVER

    def warming(self) -> bool:
        """True: this batch is within the trainer's own warm-up."""
        return self.recorder.batch <= self._warm_until

    def put_in_force(self, plan: Plan, trainer: Any) -> dict[str, str]:
        """Apply the plan's settings and keep them; get what they read afterwards. Raises PlanError."""
        applied = PlanInForce(plan)
        read_back = applied.apply(trainer, self.guard, warming=self.warming)
        self.in_force = applied
        return read_back

    # --- before and within a batch -----------------------------------------------------------------------------------

    def batch_began(self, trainer: Any) -> None:
        """The loader has delivered."""
        recorder = self.recorder
        if self.start_within is not None and recorder.batch < 0:
            self._begin_within(self.start_within, trainer)
        recorder.batch += 1
        recorder.used = ()
        self._means_before = trainer.tloss
        if recorder.ended_s is not None:
            self._data_wait_s = time.monotonic() - recorder.ended_s

    def _begin_within(self, start: StartWithin, trainer: Any) -> None:
        start.batch_began(trainer)
        self._mixing = signals.mixes_images(trainer)
        if start.reached:
            self.recorder.batch = start.batches - 1
        else:
            self.start_within = None
            self._probe.event(HookTrouble(time.time(), "start within the epoch", NOT_REACHED, switched_off=False))

    def preprocess_batch(self, trainer: Any, original: Any, batch: Any) -> Any:
        """In place of the trainer's preprocess_batch."""
        if self.start_within is not None:
            self._fail_open.run("first step", self.start_within.before_step, trainer, self.recorder.batch)
        before = None
        if self._reads_contents:
            try:
                before = signals.contents_before(batch)
            except Exception as error:  # noqa: BLE001 - as FailOpen.run
                self._reads_contents = self._fail_open.failed("batch contents", error)
        prepared = original(batch)
        self._contents = None
        if before is not None:
            try:
                self._contents = signals.contents_after(before, prepared)
            except Exception as error:  # noqa: BLE001 - as FailOpen.run
                self._reads_contents = self._fail_open.failed("batch contents", error)
        return prepared

    def final_eval(self, original: Any) -> Any:
        """In place of the trainer's final_eval, which strips the last file: its copy is made first.

        Whatever ended the training comes here, also a callback that ran after the save.
        """
        self._fail_open.run("last copy", self._probe.copied, LAST_COPY_S)
        return original()

    def optimizer_step(self, trainer: Any, original: Any) -> Any:
        """In place of the trainer's optimizer_step, be it Ultralytics' or the user's own."""
        guard = self.guard
        if self._enters:
            try:
                guard.enter(trainer.loss, trainer.ema, self._own_step)
            except Exception as error:  # noqa: BLE001 - as FailOpen.run
                self._enters = self._fail_open.failed("guard enter", error)
        try:
            return original()
        finally:
            report = guard.leave()
            if not report.settled:
                self._fail_open.run("guard settle", self.guard.settle)
            if self.start_within is not None:
                self.start_within.stepped(trainer)
                self.start_within = None
            if report.skipped_by:
                self._fail_open.run("step left out", self._step_left_out, trainer)

    def around_optimizer(self, optimizer: Any) -> Callable[[Any], None] | None:
        """A step is about to be taken: the last look before the values are used. See steps.Around."""
        recorder = self.recorder
        if self._prepares:
            try:
                if self.in_force is not None:
                    self.in_force.before_step(optimizer)
                recorder.used = recorder.groups.read()
            except Exception as error:  # noqa: BLE001 - as FailOpen.run
                self._prepares = self._fail_open.failed("ramp", error)
        updates = recorder.updates
        updates.steps_left -= 1
        if not updates.steps_left:
            self._fail_open.run("update ratio", updates.before)
            return self._after_optimizer
        return None if self.in_force is None else self._after_optimizer

    def _after_optimizer(self, optimizer: Any) -> None:
        self._fail_open.run("update ratio", self.recorder.updates.after)
        if self.in_force is not None:
            self._fail_open.run("ramp end", self.in_force.after_step, optimizer)

    def _step_left_out(self, trainer: Any) -> None:
        """Read what the step would have used, and take a bad batch out of the running means of the progress bar."""
        if not self.recorder.used:
            if self.in_force is not None:
                self.in_force.before_step(trainer.optimizer)
            self.recorder.read_settings()
            if self.in_force is not None:
                self.in_force.after_step(trainer.optimizer)
        if self.guard.acts and self._means_before is not None and not math.isfinite(float(trainer.loss.detach())):
            trainer.tloss = self._means_before  # None in an epoch's first batch: the bar can't print that

    # --- after a batch -----------------------------------------------------------------------------------------------

    def batch_ended(self, trainer: Any) -> bool:
        """Record the batch, and repair what it did to the trainer's own figures.

        True: it took its step and was healthy, so that the state may be saved.
        """
        recorder, plan = self.recorder, self.in_force
        if recorder.batch == 0:  # mosaic is closed between two epochs, and mixing never begins within one
            self._mixing = signals.mixes_images(trainer)
        contents, self._contents = self._contents or BatchContents(), None
        if contents.samples_partial and not self._mixing:
            contents.samples_partial = False
        report = self.guard.take()
        if report.clip_norm is not None:
            self._clip_norm = report.clip_norm
        pending = recorder.pending(
            contents,
            report,
            trainer.loss,
            signals.parts(trainer.loss_items),
            signals.scale_tensor(trainer) if self.guard.scaler.on else None,
            self._clip_norm,
            self._data_wait_s,
        )
        planned = plan is not None and self._add_plan(plan, pending)
        assessed = recorder.record(pending)
        if assessed is not None and math.isfinite(assessed.loss):
            self._last_loss = assessed.loss
        for change in self._changes.changes(
            trainer,
            pending.used if plan is None else readings(trainer.optimizer),
            batch=pending.batch,
            clip_norm=self._clip_norm,
            mixing=self._mixing,
            warming=pending.batch <= self._warm_until,
            planned=planned,
        ):
            self._probe.event(change)
        if assessed is not None and assessed.cured and not math.isfinite(assessed.loss):
            self._cover_up(trainer)
        return assessed is not None and not assessed.bits and report.stepped

    def _add_plan(self, plan: PlanInForce, pending: PendingBatch) -> bool:
        """What the plan in force adds to a batch. True: it was applied since the batch before."""
        pending.ramp = plan.ramp_fraction
        pending.onset_samples_left = plan.samples_left(pending.contents.samples)
        for event in plan.batch_ended(self.recorder.used, pending.report.clip_norm):
            self._probe.event(event)
        return plan.just_applied()

    def _cover_up(self, trainer: Any) -> None:
        """A cured batch leaves no trace in what the trainer decides by, or it would throw the whole epoch away."""
        trainer.tloss = self._means_before
        if self._last_loss is not None:
            loss = trainer.loss
            trainer.loss = torch.tensor(self._last_loss, dtype=loss.dtype, device=loss.device)
