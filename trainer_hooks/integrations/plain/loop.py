"""The batches of a loop written by hand: times them, reads their scalars late, tells of each. Never changes anything.

Every method fails open: what goes wrong in it is told and switched off, and the loop goes on. A checkpoint is told
with `saved`. An order to stop for good is obeyed at the end of a batch; one that wants a relaunch from a plan is
refused, since only the loop's author knows how it resumes.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from trainer_hooks.fail_open import FailOpen
from trainer_hooks.integrations.plain.batch import Counted, Given, Number, PendingBatch
from trainer_hooks.integrations.plain.settings import Settings
from trainer_hooks.integrations.plain.start import started
from trainer_hooks.orders import LeaveTraining
from trainer_hooks.probe import Probe, connect
from trainer_hooks.restore import Reading, readings
from trainer_hooks.spool import Save
from trainer_hooks.tensors import DelayedRead, memory, read
from trainer_hooks.updates import UpdateSampler, steps_between
from trainer_hooks.wire.messages import Event, Order, PhaseChanged, TrainingEnded

DELAYED_MAX = 64  # batches whose scalars may be on their way at once; beyond it the oldest goes untold

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
    connect: Callable[[int], Probe] = connect,
) -> Loop:
    """Watch a training from now on; call `batch` of what it returns at the end of every batch.

    `scheduler` and `scaler` are torch's, `settings` what a report should show. `measure_norm=False` where `batch` is
    given the norm that clip_grad_norm_ returns. Once in `update_every` optimizer steps the size of the update is
    sampled; 0: never. `connect` gives the probe of a rank.
    """
    every = steps_between() if update_every is None else update_every
    loop = Loop(model, optimizer, Settings(optimizer, scheduler), scaler, UpdateSampler(optimizer, every), measure_norm)
    loop.start(connect, epochs, batches_per_epoch, settings or {}, part_names)
    return loop


class Loop:
    """One training; `watch` makes it. Where no probe could be had, which was logged, every method does nothing."""

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        settings: Settings,
        scaler: Any,
        updates: UpdateSampler,
        measure_norm: bool,
    ) -> None:
        self._optimizer, self._settings, self._scaler = optimizer, settings, scaler
        self._updates, self._measure_norm = updates, measure_norm
        self._device = next(model.parameters()).device
        self._probe: Probe | None = None
        self._breaker = FailOpen(self._tell)
        self._counted = Counted()
        self._used: tuple[Reading, ...] = ()  # by the last optimizer step of this batch; empty: none was taken
        self._norm: torch.Tensor | None = None
        self._batches_per_epoch = 0
        self._epoch, self._batch = 0, -1
        self._ended_s: float | None = None  # the batch before
        self._delayed: deque[tuple[PendingBatch, DelayedRead]] = deque(maxlen=DELAYED_MAX)
        optimizer.register_step_pre_hook(lambda *_: self._breaker.run("before step", self._before_step))
        optimizer.register_step_post_hook(lambda *_: self._breaker.run("after step", self._updates.after))

    def start(
        self,
        connect: Callable[[int], Probe],
        epochs: int,
        batches_per_epoch: int,
        settings: Mapping[str, object],
        part_names: tuple[str, ...],
    ) -> None:
        """Connect, and tell of the training."""
        self._batches_per_epoch = batches_per_epoch
        try:
            probe = connect(int(os.environ.get("RANK", "0")))
            probe.event(started(probe, self._optimizer, self._device, epochs, batches_per_epoch, settings, part_names))
        except Exception as error:  # noqa: BLE001 - the edge between us and somebody else's training
            _log.warning("this training is not watched: %s: %s", type(error).__name__, error)
            return
        self._probe = probe
        self._enter("train")

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
        if self._probe is None:
            return
        given = Given(
            loss, epoch, parts, grad_norm, batch_size, sequence_length, image_size, clip_norm, accumulate, data_wait_s
        )
        self._breaker.run("batch", self._ended, given)
        order = self._probe.order()
        if order is not None:
            self._obey(self._probe, order)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Around everything that is no training: `with loop.phase("validate"):`, or "save". It may take its time."""
        self._enter(name)
        try:
            yield
        finally:
            self._enter("train")

    def saved(self, path: str | Path, *, epoch: int, is_best: bool = False) -> None:
        """A checkpoint was written: it is copied and examined. `epoch` is the last one it holds, from 1."""
        if self._probe is not None:
            self._breaker.run("checkpoint", self._saved, self._probe, Path(path).absolute(), epoch, is_best)

    def end(self) -> None:
        """The training is over."""
        self._finish("finished", "")

    # --- inside ------------------------------------------------------------------------------------------------------

    def _tell(self, event: Event) -> None:
        if self._probe is not None:
            self._probe.event(event)

    def _enter(self, phase: str) -> None:
        self._ended_s = None if phase != "train" else time.monotonic()  # a pause is no batch's time
        self._tell(PhaseChanged(time.time(), max(self._epoch, 1), phase))

    def _saved(self, probe: Probe, path: Path, epoch: int, is_best: bool) -> None:
        counts = self._counted.counts
        probe.checkpoint(path, Save(epoch, 1, counts.batches, counts.nonfinite_batches, is_best))

    def _finish(self, how: str, detail: str) -> None:
        self._breaker.run("delayed", self._read_delayed)
        self._tell(PhaseChanged(time.time(), max(self._epoch, 1), "idle"))
        self._tell(TrainingEnded(time.time(), how, detail, self._epoch, {}))

    def _obey(self, probe: Probe, order: Order) -> None:
        if order.kind != "stop" or order.plan:
            why = "this loop is written by hand: nobody but its author knows how it goes on from a plan"
            self._answer(probe, order, "refused", why)
            return
        self._answer(probe, order, "applied", "at the end of a batch")
        self._finish("order", order.reason)
        raise LeaveTraining(order)

    def _answer(self, probe: Probe, order: Order, outcome: str, detail: str) -> None:
        self._breaker.run("order", probe.settle, order, outcome, detail, self._epoch, self._batch, {})

    def _before_step(self) -> None:
        if self._updates.due():
            self._updates.before()
        self._used = readings(self._optimizer)
        if self._measure_norm and getattr(self._optimizer, "grad_scale", None) is None:
            grads = [p.grad for group in self._optimizer.param_groups for p in group["params"] if p.grad is not None]
            if grads and all(type(grad) is torch.Tensor and grad.device == self._device for grad in grads):
                with torch.no_grad():
                    self._norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))

    def _ended(self, given: Given) -> None:
        now_s, before_s = time.monotonic(), self._ended_s
        self._batch = self._batch + 1 if given.epoch == self._epoch else 0
        self._epoch, self._ended_s = given.epoch, now_s
        used, norm = self._used or readings(self._optimizer), self._norm
        batch_s = None if before_s is None else now_s - before_s
        draft = PendingBatch(
            given, self._batch, self._batches_per_epoch, used, memory(self._device), batch_s, bool(self._used)
        )
        self._used, self._norm = (), None
        draft.gather(
            loss=given.loss,
            norm=norm if given.grad_norm is None else given.grad_norm,
            scale=getattr(self._scaler, "_scale", None),
            update=self._updates.take(),
            **{f"part{index}": part for index, part in enumerate(given.parts)},
        )
        if draft.scalars and self._device.type == "cuda":
            self._delayed.append((draft, DelayedRead(draft.scalars)))
            self._read_delayed()
        else:
            self._record(draft, read(draft.scalars))
        for change in self._settings.changes(used, given, self._batch):
            self._tell(change)

    def _read_delayed(self) -> None:
        while self._delayed:
            values = self._delayed[0][1].values()
            if values is None:
                return
            self._record(self._delayed.popleft()[0], values)

    def _record(self, draft: PendingBatch, values: list[float]) -> None:
        if self._probe is not None:
            record = self._counted.record(draft, values, self._probe.hook_errors, self._probe.dropped)
            self._probe.batch(record, urgent=bool(record.nonfinite))
