"""Follows the samples of a log in order: which are training steps, what is not finite or vanished, where it restarts.

Pure. Each sample is assessed by those before it, as a daemon that watched the run would have done.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from monitor.recorded.importers.imported_run import LogEvent, Row
from trainer_hooks.wire.messages import Nonfinite

STREAK_ROWS = 50  # as many finite rows in between make another streak of non-finite ones, which is reported again
WHOLE_MAX = 2.0**53  # beyond it a float is not a step, epoch or size
LOSS, GRADIENT = int(Nonfinite.LOSS), int(Nonfinite.GRADIENT)  # as numbers: an enum is ten times slower to combine

VANISHED = LogEvent("loss vanished", "the loss is missing where every row before had one")
MASKED = LogEvent("loss masked", "the loss is exactly 0 and the gradient norm is not finite: a hidden NaN")


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a file by what they mean."""

    loss: str  # empty: the sum of the components
    parts: tuple[str, ...]
    rates: tuple[str, ...]
    metrics: frozenset[str]
    speaking: frozenset[str]  # what only a training step reports, beside its loss
    step: str  # the columns that there is at most one of; empty: none
    epoch: str
    grad_norm: str
    memory: str
    batch_s: str
    data_s: str
    loss_scale: str
    memory_unit_bytes: float
    first_epoch: int  # the lowest number the log has for an epoch: ours begin at 1
    grad_measured: bool  # False: the gradient's column never held a finite number, and is a logger that can't measure


@dataclass(slots=True)
class Follower:
    """Makes rows of samples."""

    columns: Columns
    rows: list[Row] = field(default_factory=list)
    _generation: int = 1
    _epoch: float = -math.inf  # as the log has it
    _step: float = -math.inf
    _validations: int = 0  # so far, where the log has no epochs
    _batch: int = 0
    _before: Mapping[str, float] = field(default_factory=dict)  # the training row before
    _grad_bad: bool = False
    _bad_index: int = -STREAK_ROWS  # the last row that was not finite

    def take(self, line: int, values: dict[str, float]) -> None:
        """One sample: a training row, a validation, both, or neither."""
        columns = self.columns
        metrics = columns.metrics and columns.metrics.intersection(values)
        loss, parts = self._loss(values)
        vanished = loss is None and not metrics and self._vanished(values)
        if loss is not None or vanished:
            self._train(line, values, math.nan if vanished else loss, parts, vanished=vanished)
            if columns.speaking and not vanished:
                self._before = values
        if metrics and self.rows:
            self._validated({name: values[name] for name in values if name in metrics})

    def end_epoch(self) -> None:
        """Mark the last row as its epoch's last."""
        if self.rows and not self.rows[-1].epoch_ends:
            self.rows[-1] = msgspec.structs.replace(self.rows[-1], epoch_ends=True)

    def _loss(self, values: Mapping[str, float]) -> tuple[float | None, tuple[float, ...]]:
        """The loss of a sample and its components; their sum is the loss where the log has no other."""
        columns = self.columns
        if not columns.parts:
            return values.get(columns.loss), ()
        parts = tuple([values[name] for name in columns.parts if name in values])
        loss = values.get(columns.loss) if columns.loss else sum(parts) if parts else None
        return loss, parts if len(parts) == len(columns.parts) else ()

    def _vanished(self, values: Mapping[str, float]) -> bool:
        """The row is like the training row before, but the loss is gone (Megatron drops it when it is not finite)."""
        columns = self.columns
        if not columns.speaking.intersection(values):
            return False
        rest = self._before.keys() - {columns.loss, *columns.parts}
        return rest >= values.keys() and 2 * len(values) > len(rest)

    def _train(
        self, line: int, values: dict[str, float], loss: float | None, parts: tuple[float, ...], *, vanished: bool
    ) -> None:
        """Add a training row."""
        columns, index = self.columns, len(self.rows)
        restart = self._move(values)
        get = values.get
        grad = get(columns.grad_norm)
        if not columns.grad_measured and loss is not None and loss != 0.0 and math.isfinite(loss):
            grad = None
        nonfinite, overflow = self._bits(loss, parts, grad)
        trouble = self._log_events(nonfinite, parts, loss, vanished=vanished) if nonfinite and not overflow else ()
        memory, step = get(columns.memory), _whole(get(columns.step))
        step = index if step is None else step
        rates = tuple([values[name] for name in columns.rates if name in values])
        memory_bytes = None if memory is None else _whole(memory * columns.memory_unit_bytes)
        row = Row(  # by place, in the order of its fields: twice as fast
            index, line, self._generation, self._epoch_number(), self._batch, step, nonfinite, overflow, loss, parts,
            grad, rates, memory_bytes, get(columns.batch_s), get(columns.data_s), get(columns.loss_scale),
            events=restart + trouble,
        )  # fmt: skip
        self.rows.append(row)
        self._batch += 1

    def _epoch_number(self) -> int:
        if not math.isfinite(self._epoch):
            return self._validations + 1
        return max(math.floor(self._epoch) + 1 - self.columns.first_epoch, 1)

    def _move(self, values: Mapping[str, float]) -> tuple[LogEvent, ...]:
        """Follow step and epoch. A step that goes back within its epoch, or an epoch that goes back, is a restart."""
        step, epoch = _number(values.get(self.columns.step)), _number(values.get(self.columns.epoch))
        step = self._step if step is None else step
        epoch = self._epoch if epoch is None else epoch
        was, now = self._epoch // 1, epoch // 1
        back = now < was or (step < self._step and not now > was)
        event: tuple[LogEvent, ...] = ()
        if back:
            gone = f"step {self._step:g} to {step:g}" if step < self._step else f"epoch {was:g} to {now:g}"
            event = (LogEvent("restart", f"the log goes back, {gone}: a restart, judged afresh"),)
            self._before, self._grad_bad = {}, False
            self._generation += 1
        if back or now > was:
            self.end_epoch()
            self._batch = 0
        self._step, self._epoch = step, epoch
        return event

    def _bits(self, loss: float | None, parts: tuple[float, ...], grad: float | None) -> tuple[int, bool]:
        """Nonfinite bits of a row, and whether it is no more than a scaler's ordinary skip."""
        bits = 0
        if (loss is not None and not math.isfinite(loss)) or (parts and not all(map(math.isfinite, parts))):
            bits |= LOSS
        grad_bad = grad is not None and not math.isfinite(grad)
        if grad_bad:
            bits |= GRADIENT | (LOSS if loss == 0.0 else 0)
        overflow = bits == GRADIENT and not self._grad_bad
        self._grad_bad = grad_bad
        return bits, overflow

    def _log_events(
        self, nonfinite: int, parts: tuple[float, ...], loss: float | None, *, vanished: bool
    ) -> tuple[LogEvent, ...]:
        """What the first row of a streak of non-finite ones shows, with the names of the components."""
        known = len(self.rows) - self._bad_index < STREAK_ROWS
        self._bad_index = len(self.rows)
        if known:
            return ()
        if vanished:
            return (VANISHED,)
        if loss == 0.0 and nonfinite & GRADIENT:
            return (MASKED,)
        bad = [name for name, part in zip(self.columns.parts, parts, strict=False) if not math.isfinite(part)]
        whole = "the loss" if nonfinite & LOSS else "the gradient norm"
        what = f"{', '.join(bad[:4])} ({len(bad)} of {len(parts)} components)" if 0 < len(bad) < len(parts) else whole
        return (LogEvent("not finite", what),)

    def _validated(self, metrics: dict[str, float]) -> None:
        """Attach a validation to the training row before it; NaN wins over a number of the same epoch."""
        last = self.rows[-1]
        kept = {name: value for name, value in last.metrics.items() if not math.isfinite(value)}
        self.rows[-1] = msgspec.structs.replace(last, metrics={**last.metrics, **metrics, **kept})
        if not math.isfinite(self._epoch):
            self.end_epoch()
            self._validations += 1
            self._batch = 0


def _number(value: float | None) -> float | None:
    return value if value is not None and -WHOLE_MAX < value < WHOLE_MAX else None


def _whole(value: float | None) -> int | None:
    """The integer part; None for what is not a number of a reasonable size."""
    found = _number(value)
    return None if found is None else int(found)
