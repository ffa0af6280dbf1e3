"""Follows the samples of a log in order: which are training steps, what is not finite or vanished, where it restarts.

Pure. Each sample is assessed by those before it, as a daemon that watched the run would have done.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

import msgspec

from monitor.recorded.importers.ahead import (
    BEHIND_PLACES_MAX,
    WRITERS_SAMPLES,
    Ahead,
    Gaps,
    others_write,
    stays_away,
)
from monitor.recorded.importers.imported_run import LogEvent, Row, Sample
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
    overflow: str
    memory_unit_bytes: float
    first_epoch: int  # the lowest number the log has for an epoch: ours begin at 1
    grad_measured: bool  # False: the gradient's column never held a finite number; perhaps its writer can't measure it
    step_begins_anew: bool  # with each epoch, and the log names no epochs


@dataclass(slots=True)
class Follower:
    """Makes rows of samples."""

    columns: Columns
    ahead: Ahead
    places_only: bool = False  # the rows without their numbers, which takes half the time
    _last: Row | None = None  # the training row before, which a validation may still complete
    _count: int = 0  # training rows so far
    _generation: int = 1
    _epoch: float = -math.inf  # as the log has it
    _step: float = -math.inf
    _epochs: int = 0  # so far, where the log has none: a validation ends one, or a step that begins anew
    _numbered: tuple[float, int] = (-math.inf, 0)  # the number that an epoch of the log has here
    _batch: int = 0
    _before: Mapping[str, float] = field(default_factory=dict)  # the training row before
    _gaps: Gaps = field(default_factory=Gaps)
    _vanishing: bool = False
    _writers: bool = False  # more than one writes into this file
    _tops: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=BEHIND_PLACES_MAX + 1))
    _grad_bad: bool = False
    _bad_index: int = -STREAK_ROWS  # the last row that was not finite

    def rows(self) -> Iterator[Row]:
        """Each training row, once it is complete."""
        metric_names, overflow, gaps = self.columns.metrics, self.columns.overflow, self._gaps
        for line, values in self.ahead:
            metrics = metric_names and metric_names.intersection(values)
            loss, parts = self._loss(values)
            skipped = bool(overflow and values.get(overflow))
            vanished = loss is None and not metrics and not skipped and self._vanished(values)
            if loss is not None or vanished or skipped:
                events, before = self._move(values), self._last
                loss = math.nan if vanished else loss
                self._last = self._row(line, values, loss, parts, events, skipped=skipped, vanished=vanished)
                if before is not None:
                    yield before
                if not vanished:
                    self._before, self._vanishing = values, False
                    if gaps.now:
                        gaps.end()
                    gaps.rows += 1
            if metrics and self._last is not None:
                self._validated({name: values[name] for name in values if name in metrics})
        self._end_epoch()
        if self._last is not None:
            yield self._last

    def _end_epoch(self) -> None:
        """Mark the last row as its epoch's last."""
        if self._last is not None and not self._last.epoch_ends:
            self._last = msgspec.structs.replace(self._last, epoch_ends=True)

    def _loss(self, values: Mapping[str, float]) -> tuple[float | None, tuple[float, ...]]:
        """The loss of a sample and its components; their sum is the loss where the log has no other."""
        columns = self.columns
        if not columns.parts:
            return values.get(columns.loss), ()
        parts = tuple([values[name] for name in columns.parts if name in values])
        loss = values.get(columns.loss) if columns.loss else sum(parts) if parts else None
        return loss, parts if len(parts) == len(columns.parts) else ()

    def _vanished(self, values: Mapping[str, float]) -> bool:
        """The row is like the training row before, but the loss is gone: its writer has no word for NaN."""
        columns = self.columns
        losses = frozenset({columns.loss, *columns.parts})
        rest = self._before.keys() - losses
        if not values or not values.keys() <= rest:
            return False
        if not columns.speaking.isdisjoint(values) and 2 * len(values) > len(rest):
            return True  # Megatron drops it when it is not finite
        self._gaps.missing()
        if not self._vanishing and self._gaps.may_be_gone:
            self._vanishing = stays_away(self.ahead, losses, frozenset(rest), self._gaps.needed - 1)
        return self._vanishing

    def _row(
        self, line: int, values: dict[str, float], loss: float | None, parts: tuple[float, ...],
        events: tuple[LogEvent, ...], *, skipped: bool, vanished: bool,
    ) -> Row:  # fmt: skip
        """A training row."""
        columns, index = self.columns, self._count
        batch, epoch = self._batch, self._epoch_number()
        self._count += 1
        self._batch += 1
        if self.places_only:
            return Row(index, line, self._generation, epoch, batch, index)
        get = values.get
        grad = get(columns.grad_norm)
        unsure = not columns.grad_measured and loss is not None and loss != 0.0 and math.isfinite(loss)
        assessed = None if unsure else grad  # the row keeps it, for a detector that only warns
        nonfinite, overflow = (GRADIENT, True) if skipped else self._bits(loss, parts, assessed)
        if nonfinite and not overflow:
            events += self._log_events(nonfinite, parts, loss, vanished=vanished)
        memory, step = get(columns.memory), _whole(get(columns.step))
        step = index if step is None else step
        rates = tuple([values[name] for name in columns.rates if name in values])
        memory_bytes = None if memory is None else _whole(memory * columns.memory_unit_bytes)
        return Row(  # by place, in the order of its fields: twice as fast
            index, line, self._generation, epoch, batch, step, nonfinite, overflow, loss, parts,
            grad, rates, memory_bytes, get(columns.batch_s), get(columns.data_s), get(columns.loss_scale),
            events=events,
        )  # fmt: skip

    def _epoch_number(self) -> int:
        if self._epoch != self._numbered[0]:
            epoch = self._epoch
            number = max(math.floor(epoch) + 1 - self.columns.first_epoch, 1) if math.isfinite(epoch) else 0
            self._numbered = (epoch, number)
        return self._numbered[1] or self._epochs + 1

    def _move(self, values: Mapping[str, float]) -> tuple[LogEvent, ...]:
        """Follow step and epoch. A step that goes back within its epoch, or an epoch that goes back, is a restart.

        Not so where another process writes into the same file, or the step begins anew with each epoch.
        """
        step, epoch = _number(values.get(self.columns.step)), _number(values.get(self.columns.epoch))
        step = self._step if step is None else step
        epoch = self._epoch if epoch is None else epoch
        was, now = self._epoch // 1, epoch // 1
        if now < was or (step < self._step and not now > was):
            if self.columns.step_begins_anew:
                self._next_epoch()
            elif self._another_writer(epoch, step):
                return ()
            else:
                return self._restart(epoch, step)
        elif now > was:
            self._end_epoch()
            self._batch = 0
        if step != self._step or epoch != self._epoch:
            self._tops.append((epoch, step))
        self._step, self._epoch = step, epoch
        return ()

    def _restart(self, epoch: float, step: float) -> tuple[LogEvent, ...]:
        was, now = self._epoch // 1, epoch // 1
        gone = f"step {self._step:g} to {step:g}" if step < self._step else f"epoch {was:g} to {now:g}"
        self._before, self._grad_bad, self._vanishing = {}, False, False
        self._generation += 1
        self._end_epoch()
        self._batch, self._step, self._epoch = 0, step, epoch
        self._tops.clear()
        self._tops.append((epoch, step))
        return (LogEvent("restart", f"the log goes back, {gone}: a restart, judged afresh"),)

    def _another_writer(self, epoch: float, step: float) -> bool:
        """Another process writes into the same file, a little behind."""
        columns = self.columns
        places = (
            _place(values.get(columns.epoch, self._epoch), values.get(columns.step, self._step))
            for values in self.ahead.peek(WRITERS_SAMPLES)
            if columns.step in values or columns.epoch in values
        )
        tops = (_place(*top) for top in self._tops)
        self._writers = others_write(chain((_place(epoch, step),), places), tops, known=self._writers)
        return self._writers

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
        known = self._count - self._bad_index < STREAK_ROWS
        self._bad_index = self._count
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
        last = self._last
        if last is None:
            return
        kept = {name: value for name, value in last.metrics.items() if not math.isfinite(value)}
        self._last = msgspec.structs.replace(last, metrics={**last.metrics, **metrics, **kept})
        if not math.isfinite(self._epoch) and not self.columns.step_begins_anew:
            self._next_epoch()

    def _next_epoch(self) -> None:
        """An epoch that the log does not name ends."""
        self._end_epoch()
        self._epochs += 1
        self._batch = 0


def _place(epoch: float, step: float) -> tuple[float, float]:
    """What orders the rows of a log; an epoch that is not known is none."""
    return (math.floor(epoch) if math.isfinite(epoch) else 0.0, step)


def rows_of(samples: Iterable[Sample], columns: Columns, *, places_only: bool = False) -> Iterator[Row]:
    """The training rows of a log, one behind: a row is complete when the next one begins."""
    return Follower(columns, Ahead(samples), places_only).rows()


def _number(value: float | None) -> float | None:
    return value if value is not None and -WHOLE_MAX < value < WHOLE_MAX else None


def _whole(value: float | None) -> int | None:
    """The integer part; None for what is not a number of a reasonable size."""
    found = _number(value)
    return None if found is None else int(found)
