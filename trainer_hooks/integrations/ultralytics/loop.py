"""The batches of one training: times them, guards their steps, reads their scalars in one copy, tells of each.

Everything here is on the training's own path: nothing waits for the device beyond what the trainer has waited for, and
what is slow happens after a batch that was bad.
"""

from __future__ import annotations

import functools
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import torch

from trainer_hooks.fail_open import FailOpen
from trainer_hooks.guard import Guard
from trainer_hooks.integrations.ultralytics import events, signals
from trainer_hooks.integrations.ultralytics.batches import BatchAssessment, BatchAssessor, PendingBatch
from trainer_hooks.integrations.ultralytics.carry_out import PlanInForce
from trainer_hooks.integrations.ultralytics.changes import SettingsWatch
from trainer_hooks.integrations.ultralytics.process import EVIDENCE_MAX, Counted, ProbeLike
from trainer_hooks.restore import Reading, group_names, readings
from trainer_hooks.tensors import DelayedRead, memory, read
from trainer_hooks.updates import UpdateSampler, steps_between
from trainer_hooks.wire.messages import NonfiniteSeen

DELAYED_MAX = 64  # batches whose scalars may be on their way at once; beyond it the oldest goes untold


class Loop:
    """What is known from one batch to the next. Holds no reference to the trainer; every call brings it along.

    `announce` is called before each record: it tells of the training's start, once that can be told.
    """

    def __init__(
        self,
        trainer: Any,
        guard: Guard,
        probe: ProbeLike,
        fail_open: FailOpen,
        counted: Counted,
        announce: Callable[[Any], None],
    ) -> None:
        self.guard = guard
        self.in_force: PlanInForce | None = None
        self.batch = -1
        self._probe = probe
        self._breaker = fail_open
        self._counted = counted
        self._announce = announce
        self._judge = BatchAssessor(guard, counted)
        self._updates = UpdateSampler(trainer.optimizer, steps_between())
        self._changes = SettingsWatch(group_names(trainer.optimizer))
        self._batches_per_epoch = 0
        self._warmup_batches = 0
        self._ended_s: float | None = None  # the batch before
        self._data_wait_s: float | None = None
        self._contents = signals.BatchContents()
        self._used: tuple[Reading, ...] = ()  # empty: no step in this batch yet
        self._means_before: Any = None  # trainer.tloss as the batch found it
        self._last_loss: float | None = None  # finite
        self._clip_norm: float | None = None
        self._delayed: deque[tuple[PendingBatch, DelayedRead]] = deque(maxlen=DELAYED_MAX)

    def epoch_began(self, trainer: Any) -> None:
        """Also where an epoch is redone, after a recovery or with a smaller batch."""
        self.batch = -1
        self._batches_per_epoch = len(trainer.train_loader)
        self._warmup_batches = signals.warmup_batches(trainer, self._batches_per_epoch)
        self._ended_s = time.monotonic()

    def warming(self, trainer: Any) -> bool:
        """True: this batch is within the trainer's own warm-up, which counts from epoch 0."""
        return self._warmup_batches > 0 and self.batch + self._batches_per_epoch * trainer.epoch <= self._warmup_batches

    # --- before and within a batch -----------------------------------------------------------------------------------

    def batch_began(self, trainer: Any) -> None:
        """The loader has delivered."""
        self.batch += 1
        self._means_before = trainer.tloss
        self._used = ()
        if self._ended_s is not None:
            self._data_wait_s = time.monotonic() - self._ended_s

    def preprocess_batch(self, original: Any, batch: Any) -> Any:
        """In place of the trainer's preprocess_batch."""
        contents = self._breaker.run("batch contents", signals.contents_before, batch)
        prepared = original(batch)
        if contents is not None:
            self._breaker.run("batch shape", signals.contents_after, contents, prepared)
            self._contents = contents
        return prepared

    def optimizer_step(self, trainer: Any, original: Any) -> Any:
        """In place of the trainer's optimizer_step, be it Ultralytics' or the user's own."""
        self._breaker.run("guard.enter", self.guard.enter, trainer.loss, trainer.ema)
        try:
            return original()
        finally:
            self.guard.leave()
            self._breaker.run("guard.settle", self.guard.settle)
            if self.guard.report.skipped_by:
                self._breaker.run("progress bar", self._clear_means, trainer)

    def before_optimizer(self, optimizer: Any, *_: object) -> None:
        """Optimizer step pre-hook, after the guard's: the last look before the values are used."""
        self._breaker.run("ramp", self._prepare_step, optimizer)
        if self._updates.due():
            self._breaker.run("update ratio", self._updates.before)

    def after_optimizer(self, optimizer: Any, *_: object) -> None:
        """Optimizer step post-hook."""
        if self._updates.sampling:
            self._breaker.run("update ratio", self._updates.after)
        if self.in_force is not None:
            self._breaker.run("ramp end", self.in_force.after_step, optimizer)

    def _prepare_step(self, optimizer: Any) -> None:
        if self.in_force is not None:
            self.in_force.before_step(optimizer)
        self._used = readings(optimizer)

    def _clear_means(self, trainer: Any) -> None:
        """Take a bad batch out of the running means before the progress bar prints them. It can't print none at all."""
        if self.guard.acts and self._means_before is not None and not math.isfinite(float(trainer.loss.detach())):
            trainer.tloss = self._means_before

    # --- after a batch -----------------------------------------------------------------------------------------------

    def batch_ended(self, trainer: Any, rank: int) -> None:
        """Tell of the batch, and put right what it did to the trainer's own figures."""
        draft = self._draft(trainer)
        if rank > 0 and trainer.device.type == "cuda":  # rank 0 has just waited for the device, the others never do
            self._delayed.append((draft, DelayedRead(draft.scalars)))
            self.read_delayed(trainer)
        else:
            verdict = self._finish(trainer, draft, read(draft.scalars))
            if not math.isfinite(verdict.loss) and verdict.cured:
                self._cover_up(trainer)

    def read_delayed(self, trainer: Any) -> None:
        """Finish those batches whose scalars have arrived meanwhile."""
        while self._delayed:
            values = self._delayed[0][1].values()
            if values is None:
                return
            self._finish(trainer, self._delayed.popleft()[0], values)

    def tell_evidence(self, evidence: NonfiniteSeen) -> None:
        """Up to a bound; the records count on."""
        if self._counted.evidence < EVIDENCE_MAX:
            self._counted.evidence += 1
            self._probe.event(evidence)

    def _draft(self, trainer: Any) -> PendingBatch:
        now_s, before_s = time.monotonic(), self._ended_s
        self._ended_s = now_s
        self.guard.settle()
        report = self.guard.take()
        if report.clip_norm is not None:
            self._clip_norm = report.clip_norm
        draft = PendingBatch(
            wall_s=time.time(),
            sent_s=now_s,
            epoch=trainer.epoch + 1,
            batch=self.batch,
            batches_per_epoch=self._batches_per_epoch,
            contents=self._contents,
            report=report,
            used=self._used or readings(trainer.optimizer),
            clip_norm=self._clip_norm,
            memory=memory(trainer.device),
            batch_s=None if before_s is None else now_s - before_s,
            data_wait_s=self._data_wait_s,
        )
        self._gather(trainer, draft)
        if self.in_force is not None:
            draft.ramp = self.in_force.ramp_fraction
            draft.onset_samples_left = self.in_force.samples_left(self._contents.samples)
            for event in self.in_force.batch_ended(self._used, report.clip_norm):
                self._announce(trainer)
                self._probe.event(event)
        return draft

    def _gather(self, trainer: Any, draft: PendingBatch) -> None:
        """Line up every scalar that is still on the device, so that they travel together."""
        parts = signals.parts(trainer.loss_items)
        draft.parts_count = len(parts)
        draft.scalars = [trainer.loss, *parts]
        if draft.report.norm is not None and draft.report.norm_value is None:
            draft.reads_norm = True
            draft.scalars.append(draft.report.norm)
        scale = signals.scale_tensor(trainer)
        if scale is not None:
            draft.reads_scale = True
            draft.scalars.append(scale)
        update = self._updates.take()
        if update is not None:
            draft.reads_update = True
            draft.scalars.append(update)
        draft.scalars += self.guard.measures()

    def _finish(self, trainer: Any, draft: PendingBatch, values: list[float]) -> BatchAssessment:
        verdict = self._judge.judge(draft, values)
        if math.isfinite(verdict.loss):
            self._last_loss = verdict.loss
        self._announce(trainer)
        counts = self._counted.counts(self._probe.hook_errors, self._probe.dropped)
        draft.forget_tensors()
        self._probe.batch(functools.partial(events.batch_ended, draft, verdict, counts), urgent=bool(verdict.bits))
        if verdict.bits:
            self.tell_evidence(events.evidence(trainer, draft, verdict))
        planned = self.in_force is not None and self.in_force.just_applied()
        changes = self._changes.changes(
            trainer,
            draft.used if self.in_force is None else readings(trainer.optimizer),
            batch=draft.batch,
            clip_norm=self._clip_norm,
            warming=self.warming(trainer),
            planned=planned,
        )
        for change in changes:
            self._probe.event(change)
        return verdict

    def _cover_up(self, trainer: Any) -> None:
        """A cured batch leaves no trace in what the trainer decides by, or it would throw the whole epoch away."""
        trainer.tloss = self._means_before
        if self._last_loss is not None:
            loss = trainer.loss
            trainer.loss = torch.tensor(self._last_loss, dtype=loss.dtype, device=loss.device)
