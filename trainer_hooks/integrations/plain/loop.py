"""A loop written by hand: where it says that a batch, a pause, a checkpoint or the training is over.

Every method fails open: what goes wrong in it is counted and switched off, and the loop goes on. An order to stop for
good is carried out at the end of a batch; one that wants a relaunch from a plan is refused, since only the loop's
author knows how it resumes.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from trainer_hooks.fail_open import FailOpen
from trainer_hooks.guard import StepReport, look_at
from trainer_hooks.integrations.plain.framework import FRAMEWORK
from trainer_hooks.orders import LeaveTraining
from trainer_hooks.probe import open_training
from trainer_hooks.recorder.assess import Counted, WatchingAssessor
from trainer_hooks.recorder.batch import BatchContents, Number
from trainer_hooks.recorder.probe_like import ProbeLike
from trainer_hooks.recorder.recorder import Recorder
from trainer_hooks.recorder.settings import LoopSettings, SettingsWatch
from trainer_hooks.recorder.started import TrainingFacts, training_started
from trainer_hooks.spool import Save
from trainer_hooks.tensors import parameters_of, total_norm
from trainer_hooks.trainings import TrainingName, call_site, digest_of
from trainer_hooks.updates import UpdateSampler, steps_between
from trainer_hooks.wire.messages import Order

_log = logging.getLogger("trainwarden")


def watch(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    epochs: int,
    batches_per_epoch: int,
    scheduler: Any = None,
    scaler: Any = None,
    settings: Mapping[str, object] | None = None,
    part_names: tuple[str, ...] = (),
    measure_norm: bool = True,
    update_every: int | None = None,
    connect: Callable[[TrainingName], ProbeLike] = open_training,
) -> Loop:
    """Watch a training from now on; call `batch` of what it returns at the end of every batch, and `end` at the end.

    `scheduler` and `scaler` are torch's, `settings` what a report should show. `measure_norm=False` where `batch` is
    given the norm that clip_grad_norm_ returns. Once in `update_every` optimizer steps the size of the update is
    sampled; 0: never. Each call is a training of its own, whose probe `connect` gives.
    """
    shown = {name: str(value) for name, value in (settings or {}).items()}
    arguments = {"epochs": epochs, "batches": batches_per_epoch, "parts": part_names, "settings": dict(shown)}
    shown.setdefault("optimizer", type(optimizer).__name__)
    group = optimizer.param_groups[0]
    shown.setdefault(FRAMEWORK.settings.learning_rate, str(group.get("initial_lr", group["lr"])))
    facts = TrainingFacts(
        framework=FRAMEWORK.name,
        settings=shown,
        epochs=epochs,
        batches_per_epoch=batches_per_epoch,
        save_dir=os.getcwd(),  # noqa: PTH109 - a text is what is sent
        arguments_digest=digest_of({"argv": sys.argv, **arguments}),
        part_names=part_names,
        world_size=int(os.environ.get("WORLD_SIZE", "1")),
    )
    updates = UpdateSampler(optimizer, steps_between() if update_every is None else update_every)
    loop = Loop(optimizer, SettingsWatch(optimizer, scheduler), scaler, measure_norm)
    loop.start(connect, facts, updates, model)
    return loop


class Loop:
    """One training; `watch` makes it. Where no probe could be had, which was logged, every method does nothing."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, settings: SettingsWatch, scaler: Any, measure_norm: bool
    ) -> None:
        self._optimizer, self._settings, self._scaler = optimizer, settings, scaler
        self._measure_norm = measure_norm
        self._norm: torch.Tensor | None = None
        self._recorder: Recorder | None = None
        self._fail_open = FailOpen(lambda _: None)

    def start(
        self,
        connect: Callable[[TrainingName], ProbeLike],
        facts: TrainingFacts,
        updates: UpdateSampler,
        model: torch.nn.Module,
    ) -> None:
        """Connect, and report the training."""
        try:
            device = next(model.parameters()).device
            probe = connect(TrainingName(call_site(), facts.arguments_digest))
            facts = dataclasses.replace(facts, ordinal=probe.identity.ordinal)
            probe.event(training_started(facts, self._optimizer, device, probe.identity))
            self._fail_open = FailOpen(probe.event)
            counted = Counted()
            assessor = WatchingAssessor(counted, lambda: look_at(model))
            recorder = Recorder(probe, self._fail_open, self._optimizer, device, assessor, counted, updates=updates)
            recorder.batches_per_epoch = facts.batches_per_epoch
            recorder.watch_steps(
                lambda _: self._fail_open.run("before step", self._before_step, recorder),
                lambda _: self._fail_open.run("after step", self._after_step, recorder),
            )
        except Exception as error:  # noqa: BLE001 - the edge between us and somebody else's training
            _log.warning("this training is not watched: %s: %s", type(error).__name__, error)
            return
        self._recorder = recorder
        self._enter(recorder, "train")

    def batch(
        self,
        loss: Number,
        *,
        epoch: int,
        parts: tuple[Number, ...] = (),
        grad_norm: Number | None = None,
        batch_size: int | None = None,
        sequence_length: int | None = None,
        image_size: int | None = None,
        clip_norm: float | None = None,
        accumulate: int | None = None,
        data_wait_s: float | None = None,
    ) -> None:
        """A batch has ended. `epoch` counts from 1; `sequence_length` is the longest of the batch, in tokens.

        Raises LeaveTraining, a SystemExit, where an order says so.
        """
        recorder = self._recorder
        if recorder is None:
            return
        contents = BatchContents(batch_size, image_size, sequence_length)
        given = LoopSettings(clip_norm, accumulate, batch_size)
        self._fail_open.run("batch", self._ended, recorder, loss, epoch, parts, grad_norm, contents, given, data_wait_s)
        order = self._fail_open.run("next order", recorder.probe.order)
        if order is not None:
            self._carry_out(recorder, order)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Around everything that is not training: `with loop.phase("validate"):`, or "save". It may take its time."""
        recorder = self._recorder
        if recorder is None:
            yield
            return
        self._enter(recorder, name)
        try:
            yield
        finally:
            if self._recorder is recorder:
                self._enter(recorder, "train")

    def saved(self, path: str | Path, *, epoch: int, is_best: bool = False) -> None:
        """A checkpoint was written: it is copied and examined. `epoch` is the last one it holds, from 1."""
        recorder = self._recorder
        if recorder is not None:
            self._fail_open.run("checkpoint", self._saved, recorder, Path(path).absolute(), epoch, is_best)

    def end(self) -> None:
        """The training is over: nothing of ours stays on its optimizer. A later call does nothing."""
        self._finish("finished", "")

    # --- inside ------------------------------------------------------------------------------------------------------

    def _enter(self, recorder: Recorder, phase: str) -> None:
        recorder.ended_s = None if phase != "train" else time.monotonic()  # a pause does not belong to a batch's time
        self._fail_open.run("phase", recorder.enter, phase, max(recorder.epoch, 1))

    def _saved(self, recorder: Recorder, path: Path, epoch: int, is_best: bool) -> None:
        counted, ordinal = recorder.counted, recorder.probe.identity.ordinal
        save = Save(epoch, ordinal, counted.batches, counted.nonfinite_batches, is_best)
        recorder.probe.checkpoint(path, save)

    def _finish(self, how: str, detail: str) -> None:
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            self._fail_open.run("end", recorder.ended, how, detail, recorder.epoch, {})

    def _carry_out(self, recorder: Recorder, order: Order) -> None:
        if order.kind != "stop" or order.plan:
            why = "this loop is written by hand: nobody but its author knows how it goes on from a plan"
            self._answer(recorder, order, "refused", why)
            return
        self._answer(recorder, order, "applied", "at the end of a batch")
        self._finish("order", order.reason)
        raise LeaveTraining(order)

    def _answer(self, recorder: Recorder, order: Order, outcome: str, detail: str) -> None:
        settle, at = recorder.probe.settle, (recorder.epoch, recorder.batch)
        self._fail_open.run("order", settle, order, outcome, detail, *at, {})

    def _before_step(self, recorder: Recorder) -> None:
        if recorder.updates.due():
            recorder.updates.before()
        recorder.read_settings()
        if self._measure_norm and getattr(self._optimizer, "grad_scale", None) is None:
            self._norm = None if recorder.step_has_closure else total_norm(parameters_of(self._optimizer))

    def _after_step(self, recorder: Recorder) -> None:
        recorder.updates.after()
        if self._measure_norm and recorder.step_has_closure:  # its gradients came into being within it
            self._norm = total_norm(parameters_of(self._optimizer))

    def _ended(
        self,
        recorder: Recorder,
        loss: Number,
        epoch: int,
        parts: tuple[Number, ...],
        grad_norm: Number | None,
        contents: BatchContents,
        given: LoopSettings,
        data_wait_s: float | None,
    ) -> None:
        recorder.batch = recorder.batch + 1 if epoch == recorder.epoch else 0
        recorder.epoch = epoch
        norm, self._norm = self._norm if grad_norm is None else grad_norm, None
        report = StepReport(stepped=bool(recorder.used))
        if isinstance(norm, torch.Tensor):
            report.norm = norm
        elif norm is not None:
            report.norm_value = float(norm)
        pending = recorder.pending(contents, report, clip_norm=given.clip_norm, data_wait_s=data_wait_s)
        recorder.used = ()
        pending.line_up(loss, parts, getattr(self._scaler, "_scale", None), recorder.updates.take())
        recorder.record(pending)
        for change in self._settings.changes(pending.used, given, epoch=epoch, batch=recorder.batch):
            recorder.probe.event(change)
