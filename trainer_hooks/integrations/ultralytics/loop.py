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
from trainer_hooks.parameter_groups import readings
from trainer_hooks.recorder.assess import Counted, GuardedAssessor
from trainer_hooks.recorder.batch import BatchContents, PendingBatch
from trainer_hooks.recorder.probe_like import ProbeLike
from trainer_hooks.recorder.recorder import Recorder
from trainer_hooks.updates import UpdateSampler, steps_between
from trainer_hooks.wire.runfolder import Plan

WRAPPED = ("optimizer_step", "preprocess_batch", "_handle_nan_recovery")  # methods of a trainer, one instance at a time


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
        self._warmup_batches = 0
        self._mixing = False
        self._data_wait_s: float | None = None
        self._contents = BatchContents()
        self._means_before: Any = None  # trainer.tloss as the batch found it
        self._last_loss: float | None = None  # finite
        self._clip_norm: float | None = None
        self._replaced: dict[str, tuple[bool, Any]] = {}  # by name: was it the instance's own, and what it was

    def attach(self, trainer: Any, recover: Callable[[Any, Any, int], bool]) -> None:
        """Come between the trainer and its steps, its batches and its own recovery from NaN."""
        watch_clipping()
        self.recorder.watch_steps(self.before_optimizer, self.after_optimizer)
        for name, ours in zip(
            WRAPPED, (functools.partial(self.optimizer_step, trainer), self.preprocess_batch, None), strict=True
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
        self._warmup_batches = signals.warmup_batches(trainer, recorder.batches_per_epoch)

    def warming(self, trainer: Any) -> bool:
        """True: this batch is within the trainer's own warm-up, which counts from epoch 0."""
        if self._warmup_batches <= 0:
            return False
        return self.recorder.batch + self.recorder.batches_per_epoch * int(trainer.epoch) <= self._warmup_batches

    def put_in_force(self, plan: Plan, trainer: Any) -> dict[str, str]:
        """Apply the plan's settings and keep them; get what they read afterwards. Raises PlanError."""
        applied = PlanInForce(plan)
        read_back = applied.apply(trainer, self.guard, warming=lambda: self.warming(trainer))
        self.in_force = applied
        return read_back

    # --- before and within a batch -----------------------------------------------------------------------------------

    def batch_began(self, trainer: Any) -> None:
        """The loader has delivered."""
        recorder = self.recorder
        recorder.batch += 1
        recorder.used = ()
        self._means_before = trainer.tloss
        if recorder.ended_s is not None:
            self._data_wait_s = time.monotonic() - recorder.ended_s

    def preprocess_batch(self, original: Any, batch: Any) -> Any:
        """In place of the trainer's preprocess_batch."""
        contents = self._fail_open.run("batch contents", signals.contents_before, batch)
        prepared = original(batch)
        if contents is not None:
            self._fail_open.run("batch shape", signals.contents_after, contents, prepared)
            self._contents = contents
        return prepared

    def optimizer_step(self, trainer: Any, original: Any) -> Any:
        """In place of the trainer's optimizer_step, be it Ultralytics' or the user's own."""
        self._fail_open.run("guard.enter", self.guard.enter, trainer.loss, trainer.ema)
        try:
            return original()
        finally:
            self.guard.leave()
            if not self.guard.report.settled:
                self._fail_open.run("guard.settle", self.guard.settle)
            if self.guard.report.skipped_by:
                self._fail_open.run("progress bar", self._clear_means, trainer)

    def before_optimizer(self, optimizer: Any, *_: object) -> None:
        """Optimizer step pre-hook, after the guard's: the last look before the values are used."""
        self._fail_open.run("ramp", self._prepare_step, optimizer)
        if self.recorder.updates.due():
            self._fail_open.run("update ratio", self.recorder.updates.before)

    def after_optimizer(self, optimizer: Any, *_: object) -> None:
        """Optimizer step post-hook."""
        if self.recorder.updates.sampling:
            self._fail_open.run("update ratio", self.recorder.updates.after)
        if self.in_force is not None:
            self._fail_open.run("ramp end", self.in_force.after_step, optimizer)

    def _prepare_step(self, optimizer: Any) -> None:
        if self.in_force is not None:
            self.in_force.before_step(optimizer)
        self.recorder.read_settings()

    def _clear_means(self, trainer: Any) -> None:
        """Take a bad batch out of the running means before the progress bar prints them. It can't print none at all."""
        if self.guard.acts and self._means_before is not None and not math.isfinite(float(trainer.loss.detach())):
            trainer.tloss = self._means_before

    # --- after a batch -----------------------------------------------------------------------------------------------

    def batch_ended(self, trainer: Any) -> None:
        """Record the batch, and repair what it did to the trainer's own figures."""
        contents = self._contents
        if self.recorder.batch == 0:  # mosaic is closed between two epochs, and mixing never begins within one
            self._mixing = signals.mixes_images(trainer)
        contents.samples_partial = contents.samples_partial and self._mixing
        pending = self._pending(trainer, contents)
        planned = self.in_force is not None and self.in_force.just_applied()
        assessed = self.recorder.record(pending)
        if assessed is not None and math.isfinite(assessed.loss):
            self._last_loss = assessed.loss
        for change in self._changes.changes(
            trainer,
            pending.used if self.in_force is None else readings(trainer.optimizer),
            batch=pending.batch,
            clip_norm=self._clip_norm,
            mixing=self._mixing,
            warming=self.warming(trainer),
            planned=planned,
        ):
            self._probe.event(change)
        if assessed is not None and assessed.cured and not math.isfinite(assessed.loss):
            self._cover_up(trainer)

    def _pending(self, trainer: Any, contents: BatchContents) -> PendingBatch:
        if not self.guard.report.settled:
            self.guard.settle()
        report = self.guard.take()
        if report.clip_norm is not None:
            self._clip_norm = report.clip_norm
        pending = self.recorder.pending(contents, report, clip_norm=self._clip_norm, data_wait_s=self._data_wait_s)
        parts = signals.parts(trainer.loss_items)
        scale = signals.scale_tensor(trainer) if self.guard.scales else None
        measures = self.guard.measures() if self.guard.looking else ()
        pending.line_up(trainer.loss, parts, scale, self.recorder.updates.take(), measures)
        if self.in_force is not None:
            pending.ramp = self.in_force.ramp_fraction
            pending.onset_samples_left = self.in_force.samples_left(contents.samples)
            for event in self.in_force.batch_ended(self.recorder.used, report.clip_norm):
                self._probe.event(event)
        return pending

    def _cover_up(self, trainer: Any) -> None:
        """A cured batch leaves no trace in what the trainer decides by, or it would throw the whole epoch away."""
        trainer.tloss = self._means_before
        if self._last_loss is not None:
            loss = trainer.loss
            trainer.loss = torch.tensor(self._last_loss, dtype=loss.dtype, device=loss.device)
