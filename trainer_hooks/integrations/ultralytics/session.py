"""One training of one rank: what happens at each of the trainer's callbacks, and what is told of it.

Nothing here may raise into the trainer but LeaveTraining and, at the start, the exit that a plan demands: attach.py calls
every method through the session's breaker.
"""

from __future__ import annotations

import functools
import math
import time
from collections import deque
from pathlib import Path
from typing import Any

import torch

from trainer_hooks.breaker import Breaker
from trainer_hooks.guard import Guard, watch_clipping
from trainer_hooks.integrations.ultralytics import signals, start
from trainer_hooks.integrations.ultralytics.batches import Draft, Judge, Verdict
from trainer_hooks.integrations.ultralytics.changes import SettingsWatch
from trainer_hooks.integrations.ultralytics.events import started
from trainer_hooks.integrations.ultralytics.obey import PlanInForce, obey
from trainer_hooks.integrations.ultralytics.process import EVIDENCE_MAX, ProbeLike, Process, Training, refuse_to_start
from trainer_hooks.restore import Reading, group_names, momentum_of, readings
from trainer_hooks.tensors import DelayedRead, read
from trainer_hooks.wire.messages import (
    BatchEnded,
    EpochEnded,
    Nonfinite,
    NonfiniteSeen,
    PhaseChanged,
    SkippedBy,
    TrainingEnded,
    TrainingStarted,
)

FLUSH_S = 2.0  # at the end of a training: what is not sent by then lies in the spool
DELAYED_MAX = 64  # batches whose scalars may be on their way at once; beyond it the oldest goes untold


class Session:
    """The hooks' state for one trainer. Holds no reference to it; every callback brings it along."""

    def __init__(self, process: Process, training: Training, probe: ProbeLike, rank: int) -> None:
        self.training = training
        self.probe = probe
        self.breaker = Breaker(probe.event)
        self.guard: Guard | None = None
        self.in_force: PlanInForce | None = None
        self._process = process
        self._tally = process.tally
        self._rank = rank
        self._judge: Judge | None = None
        self._changes: SettingsWatch | None = None
        self._started: TrainingStarted | None = None
        self._phase = ""
        self._epoch_open = False
        self._epoch_began_s = 0.0
        self._batch = -1
        self._batches_per_epoch = 0
        self._warmup_batches = 0
        self._batch_done_s: float | None = None
        self._data_wait_s: float | None = None
        self._contents = signals.BatchContents()
        self._used: tuple[Reading, ...] = ()
        self._means_before: Any = None  # trainer.tloss as the batch found it
        self._last_loss: float | None = None
        self._clip_norm: float | None = None
        self._finding = ""
        self._delayed: deque[tuple[Draft, DelayedRead]] = deque(maxlen=DELAYED_MAX)

    # --- at the start ------------------------------------------------------------------------------------------------

    def on_pretrain_routine_end(self, trainer: Any) -> None:
        """Everything of the trainer exists: bind to it, and put the plan in force if there is one."""
        plan = self.training.plan
        if plan is None:
            self._bind(trainer)
            return
        start.check_epoch(plan, trainer)
        start.fail_closed("taking up the training", lambda: self._bind(trainer))
        start.fail_closed("applying the settings", lambda: self.put_in_force(PlanInForce(plan), trainer))
        start.fail_closed("seeding the loader", lambda: start.draw_other_batches(plan, trainer))

    def _bind(self, trainer: Any) -> None:
        self.guard = Guard(
            trainer.model, trainer.optimizer, trainer.scaler, self.breaker, acts=self._process.guard_acts
        )
        self._judge = Judge(self.guard, self._tally)
        self._changes = SettingsWatch(group_names(trainer.optimizer))
        watch_clipping()
        trainer.optimizer.register_step_pre_hook(self._before_optimizer)
        trainer.optimizer.register_step_post_hook(self._after_optimizer)
        trainer.optimizer_step = functools.partial(self._optimizer_step, trainer, trainer.optimizer_step)
        trainer.preprocess_batch = functools.partial(self._preprocess_batch, trainer.preprocess_batch)
        recovery = getattr(trainer, "_handle_nan_recovery", None)
        if recovery is not None:
            trainer._handle_nan_recovery = functools.partial(self._recover, trainer, recovery)

    def put_in_force(self, plan: PlanInForce, trainer: Any) -> dict[str, str]:
        """Apply the plan's settings, at a start or in place; get what they read afterwards. Raises PlanError."""
        if self.guard is None:
            raise RuntimeError("the hooks are not bound to this trainer: a plan can't be put in force")
        read_back = plan.apply(trainer, self.guard, warming=lambda: self._warming(trainer))
        self.in_force = plan
        return read_back

    def on_train_start(self, trainer: Any) -> None:
        """The trainer is about to draw its first batch."""
        self._started = started(trainer, self.training, self.probe, guarded=self.guard is not None and self.guard.acts)
        self._tell_started(trainer, even_nameless=False)

    def _tell_started(self, trainer: Any, *, even_nameless: bool) -> None:
        """Tell of the start once. Some releases learn the names of the loss components from the first batch."""
        names = signals.part_names(trainer)
        if self._started is None or not (names or even_nameless):
            return
        message, self._started = self._started, None
        self.probe.event(type(message)(**{**_fields(message), "part_names": names}))

    # --- epochs ------------------------------------------------------------------------------------------------------

    def on_train_epoch_start(self, trainer: Any) -> None:
        """Also where an epoch is redone, after a recovery or with a smaller batch."""
        self._batch = -1
        self._batches_per_epoch = len(trainer.train_loader)
        self._warmup_batches = signals.warmup_batches(trainer, self._batches_per_epoch)
        self._epoch_open = True
        self._epoch_began_s = self._batch_done_s = time.monotonic()
        self._enter_phase(trainer, "train")

    def on_train_epoch_end(self, trainer: Any) -> None:
        """The last moment before validation and save: nothing poisoned may go into either unseen."""
        self._read_delayed(trainer)
        if trainer.tloss is None:  # every batch was bad and cured: the trainer needs something to print
            trainer.tloss = trainer.loss_items
        self._enter_phase(trainer, "validate")
        if self.guard is None:
            return
        found = self.guard.examine()
        self._finding = found.finding
        if found.finding or found.buffer:
            bits = Nonfinite.PARAMETER if found.parameter or found.average else Nonfinite.BUFFER
            first_bad = found.parameter or found.buffer or found.average
            self._tell_evidence(trainer, self._batch, bits, cured=found.clean, first_bad=first_bad)

    def on_model_save(self, trainer: Any) -> None:
        """The file is written and complete; the copy is made elsewhere."""
        fitness = signals.as_number(trainer.fitness)
        self.probe.checkpoint(
            Path(trainer.last).absolute(),
            epoch=trainer.epoch + 1,
            ordinal=self.training.ordinal,
            batches=self._tally.batches,
            nonfinite_batches=self._tally.nonfinite_batches,
            is_best=bool(trainer.best_fitness == trainer.fitness),
            fitness=fitness,
            state_finding=self._finding,
        )

    def on_fit_epoch_end(self, trainer: Any) -> None:
        """Fires once more after the final evaluation, with no epoch to it."""
        if self._epoch_open:
            self._tell_epoch(trainer, redone=False)

    def _tell_epoch(self, trainer: Any, *, redone: bool) -> None:
        self._epoch_open = False
        self.probe.event(
            EpochEnded(
                time.time(),
                trainer.epoch + 1,
                time.monotonic() - self._epoch_began_s,
                signals.mean_parts(trainer),
                signals.metrics(trainer),
                signals.as_number(trainer.fitness),
                redone,
            )
        )

    def _recover(self, trainer: Any, recovery: Any, epoch: int) -> bool:
        """In place of _handle_nan_recovery: where it throws the epoch away, what we know of the state is stale."""
        redo = bool(recovery(epoch))
        self.breaker.run("recovery", self._recovered if redo else self._saving, trainer)
        return redo

    def _recovered(self, trainer: Any) -> None:
        self._tell_epoch(trainer, redone=True)
        if self.guard is not None:
            self.guard.bind(trainer.ema)
            self.guard.refresh()
        if self.in_force is not None and self.guard is not None:
            self.in_force.apply_again(trainer)

    def _saving(self, trainer: Any) -> None:
        self._enter_phase(trainer, "save")

    def _enter_phase(self, trainer: Any, phase: str) -> None:
        if phase != self._phase:
            self._phase = phase
            self.probe.event(PhaseChanged(time.time(), trainer.epoch + 1, phase))

    # --- a batch -----------------------------------------------------------------------------------------------------

    def on_train_batch_start(self, trainer: Any) -> None:
        """The loader has delivered."""
        self._batch += 1
        self._means_before = trainer.tloss
        self._used = ()
        if self._batch_done_s is not None:
            self._data_wait_s = time.monotonic() - self._batch_done_s

    def _preprocess_batch(self, original: Any, batch: Any) -> Any:
        contents = self.breaker.run("batch contents", signals.contents_before, batch)
        prepared = original(batch)
        if contents is not None:
            self._contents = self.breaker.run("batch shape", signals.contents_after, contents, prepared) or contents
        return prepared

    def _optimizer_step(self, trainer: Any, original: Any) -> Any:
        guard = self.guard
        if guard is None:
            return original()
        self.breaker.run("guard.enter", guard.enter, trainer.loss, trainer.ema)
        try:
            return original()
        finally:
            guard.leave()
            self.breaker.run("guard.settle", guard.settle)
            if guard.report.skipped_by:
                self.breaker.run("progress bar", self._clear_means, trainer)

    def _before_optimizer(self, optimizer: Any, *_: object) -> None:
        """Optimizer step pre-hook, after the guard's: the last look before the values are used."""
        self.breaker.run("ramp", self._prepare_step, optimizer)

    def _prepare_step(self, optimizer: Any) -> None:
        if self.in_force is not None:
            self.in_force.before_step(optimizer)
        self._used = readings(optimizer)

    def _after_optimizer(self, optimizer: Any, *_: object) -> None:
        if self.in_force is not None:
            self.breaker.run("ramp end", self.in_force.after_step, optimizer)

    def _clear_means(self, trainer: Any) -> None:
        """Take a bad batch out of the running means before the progress bar prints them; never leave them empty here."""
        guarded = self.guard is not None and self.guard.acts
        if guarded and self._means_before is not None and not math.isfinite(float(trainer.loss)):
            trainer.tloss = self._means_before

    def on_train_batch_end(self, trainer: Any) -> None:
        """Tell of the batch, put right what it did to the trainer's own figures, then obey an order if there is one."""
        guard, judge = self.guard, self._judge
        if guard is None or judge is None:
            return
        draft = self._draft(trainer, guard)
        if self._rank > 0 and trainer.device.type == "cuda":
            self._delayed.append((draft, DelayedRead(draft.scalars)))
            self._read_delayed(trainer)
        else:
            self._finish(trainer, draft, read(draft.scalars))
        self._obey(trainer)

    def _draft(self, trainer: Any, guard: Guard) -> Draft:
        now_s, before_s = time.monotonic(), self._batch_done_s
        self._batch_done_s = now_s
        guard.settle()
        report = guard.take()
        plan = self.in_force
        draft = Draft(
            wall_s=time.time(),
            sent_s=now_s,
            epoch=trainer.epoch + 1,
            batch=self._batch,
            batches_per_epoch=self._batches_per_epoch,
            contents=self._contents,
            report=report,
            used=self._used or readings(trainer.optimizer),
            memory=signals.memory(trainer.device),
            batch_s=None if before_s is None else now_s - before_s,
            data_wait_s=self._data_wait_s,
            ramp=plan.ramp_fraction if plan else None,
            onset_samples_left=plan.samples_left(self._contents.samples) if plan else None,
        )
        self._gather(trainer, guard, draft)
        if plan is not None:
            for event in plan.batch_ended(trainer, self._used, report.clip_norm):
                self.probe.event(event)
        return draft

    def _gather(self, trainer: Any, guard: Guard, draft: Draft) -> None:
        """Line up every scalar that is still on the device, so that they travel together."""
        parts = signals.parts(trainer.loss_items)
        draft.parts_count = len(parts)
        draft.scalars = [trainer.loss.detach(), *parts]
        if draft.report.norm is not None and draft.report.norm_value is None:
            draft.reads_norm = True
            draft.scalars.append(draft.report.norm)
        scale = signals.scale_tensor(trainer)
        if scale is not None:
            draft.reads_scale = True
            draft.scalars.append(scale)
        draft.scalars += guard.measures()

    def _read_delayed(self, trainer: Any) -> None:
        while self._delayed:
            values = self._delayed[0][1].values()
            if values is None:
                return
            self._finish(trainer, self._delayed.popleft()[0], values)

    def _finish(self, trainer: Any, draft: Draft, values: list[float]) -> None:
        assert self._judge is not None
        verdict = self._judge.judge(draft, values)
        self._tell_started(trainer, even_nameless=True)
        self._tell_batch(trainer, draft, verdict)
        if verdict.bits:
            self._tell_bad(trainer, draft, verdict)
        if math.isfinite(verdict.loss):
            self._last_loss = verdict.loss
        elif verdict.cured and self._rank <= 0:
            self._cover_up(trainer)

    def _cover_up(self, trainer: Any) -> None:
        """A cured batch leaves no trace in what the trainer decides by, or it would throw the whole epoch away."""
        trainer.tloss = self._means_before
        if self._last_loss is not None:
            trainer.loss = torch.tensor(self._last_loss, dtype=trainer.loss.dtype, device=trainer.loss.device)

    def _tell_batch(self, trainer: Any, draft: Draft, verdict: Verdict) -> None:
        report, contents, memory = draft.report, draft.contents, draft.memory
        if report.clip_norm is not None:
            self._clip_norm = report.clip_norm
        self.probe.batch(
            BatchEnded(
                wall_s=draft.wall_s,
                sent_s=draft.sent_s,
                epoch=draft.epoch,
                batch=draft.batch,
                batches_per_epoch=draft.batches_per_epoch,
                counts=self._tally.counts(self.probe.hook_errors, self.probe.dropped),
                loss=verdict.loss,
                parts=verdict.parts,
                grad_norm=verdict.norm,
                nonfinite=int(verdict.bits),
                skipped_by=str(report.skipped_by),
                cured=verdict.cured,
                learning_rates=tuple(reading.rate for reading in draft.used),
                momentum=draft.used[0].momentum,
                weight_decay=max(reading.weight_decay for reading in draft.used),
                clip_norm=self._clip_norm,
                loss_scale=verdict.scale,
                batch_size=contents.size,
                image_size=contents.image_size,
                instances=contents.instances,
                instances_max=contents.instances_max,
                memory_allocated=memory.allocated,
                memory_reserved=memory.reserved,
                memory_peak=memory.peak,
                alloc_retries=memory.retries,
                batch_s=draft.batch_s,
                data_wait_s=draft.data_wait_s,
                ramp=draft.ramp,
                onset_samples_left=draft.onset_samples_left,
            ),
            urgent=bool(verdict.bits),
        )
        if self._changes is not None:
            for change in self._changes.changes(
                trainer,
                readings(trainer.optimizer),
                batch=draft.batch,
                clip_norm=self._clip_norm,
                warming=self._warming(trainer),
                planned=self.in_force is not None and self.in_force.just_applied(),
            ):
                self.probe.event(change)

    def _tell_bad(self, trainer: Any, draft: Draft, verdict: Verdict) -> None:
        self._tell_evidence(
            trainer,
            draft.batch,
            verdict.bits,
            cured=verdict.cured,
            first_bad=verdict.first_bad or draft.report.bad_buffer,
            loss=verdict.loss,
            parts=verdict.parts,
            grad_norm=verdict.norm,
            samples=draft.contents.samples,
        )

    def _tell_evidence(self, trainer: Any, batch: int, bits: Nonfinite, *, cured: bool, first_bad: str, **seen: Any) -> None:
        if self._tally.evidence >= EVIDENCE_MAX:
            return
        self._tally.evidence += 1
        self.probe.event(
            NonfiniteSeen(
                wall_s=time.time(),
                epoch=trainer.epoch + 1,
                batch=batch,
                nonfinite=int(bits),
                loss=seen.get("loss"),
                parts=seen.get("parts", ()),
                grad_norm=seen.get("grad_norm"),
                cured=cured,
                samples=seen.get("samples", ()),
                samples_partial=signals.mixes_images(trainer),
                first_bad=first_bad,
            )
        )

    def _warming(self, trainer: Any) -> bool:
        """True: this batch is within the trainer's own warm-up, which counts from epoch 0."""
        return self._warmup_batches > 0 and self._batch + self._batches_per_epoch * trainer.epoch <= self._warmup_batches

    # --- orders and the end ------------------------------------------------------------------------------------------

    def _obey(self, trainer: Any) -> None:
        order = self.probe.order()
        if order is not None:
            obey(order, self, trainer, batch=self._batch)

    def ended(self, trainer: Any, how: str, detail: str) -> None:
        """train() is over, in one way or another."""
        self._read_delayed(trainer)
        self._tell_started(trainer, even_nameless=True)
        epoch = int(getattr(trainer, "epoch", trainer.start_epoch)) + 1
        self.probe.event(PhaseChanged(time.time(), epoch, "idle"))
        self.probe.event(TrainingEnded(time.time(), how, detail, epoch, signals.metrics(trainer)))
        self.probe.flush(FLUSH_S)


def _fields(message: TrainingStarted) -> dict[str, Any]:
    return {name: getattr(message, name) for name in message.__struct_fields__}
