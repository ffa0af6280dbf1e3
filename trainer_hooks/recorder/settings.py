"""Which settings of a training have changed since the batch before, and what explains it. Never changes one.

`SettingsWatch` is for a loop whose schedule may be anywhere: in a scheduler of torch, in a function that sets the rate
of each step, in an `if`. So a change is explained where there is a scheduler, where the rate moves all the time, at the
beginning of an epoch, and where a rate falls. What is left has no reason: a rate that was constant and rises within an
epoch; one that rises by a factor of 3 and more though its schedule does not say so; a momentum, a decay, a clip or an
accumulation that changes within an epoch. An integration that knows its framework's schedule has a watch of its own,
and reports what it finds through `ChangeEvents` too.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from trainer_hooks.parameter_groups import Reading, group_names
from trainer_hooks.recorder.schedules import RISE, Schedule
from trainer_hooks.wire.messages import SettingChanged

CONSTANT_BATCHES = 50  # a rate that stood this long has no schedule of its own
STEP = 1.5  # an explained move by this factor or more is worth an event; a smaller one is in its batch's record
SIZE_BATCHES = 3  # this many of another size in a row: it changed, it is not the last batch of an epoch
CHANGES_MAX = 50  # events for one setting in one training: a user's own scheduler changes its rate every batch
NEW_EPOCH = "first batch of an epoch"
OTHER_OPTIMIZER = "the training steps with another optimizer"


class SettingChange(NamedTuple):
    """One setting has another value than one batch ago."""

    name: str
    old: object
    new: object
    reason: str  # empty: unexplained


class LoopSettings(NamedTuple):
    """What a loop says of the settings that no optimizer knows; None: it does not say."""

    clip_norm: float | None = None
    accumulate: int | None = None
    batch_size: int | None = None


class ChangeEvents:
    """Makes events of changes, at most CHANGES_MAX for one setting."""

    def __init__(self) -> None:
        self._reported: dict[str, int] = {}

    def events(self, epoch: int, batch: int, changes: Iterable[SettingChange]) -> list[SettingChanged]:
        """Those that may still be sent."""
        return [
            SettingChanged(time.time(), epoch, batch, each.name, str(each.old), str(each.new), each.reason)
            for each in changes
            if self._may_report(each.name)
        ]

    def _may_report(self, name: str) -> bool:
        reported = self._reported[name] = self._reported.get(name, 0) + 1
        return reported <= CHANGES_MAX


class SettingsWatch:
    """Compares the settings of one batch with those of the batch before."""

    def __init__(self, optimizer: Any, scheduler: Any = None) -> None:
        """`scheduler` is torch's; None: where it exists it is found by what it leaves in the parameter groups."""
        self._optimizer = optimizer
        self._scheduled = scheduler is not None
        self._schedule = Schedule(optimizer, scheduler)
        self._batches = 0
        self._before: tuple[Reading, ...] = ()
        self._given: dict[str, object] = {}
        self._stood: dict[int, int] = {}  # by group: batches for which its rate stood still
        self._epoch = -1
        self._odd_sizes = 0
        self._events = ChangeEvents()
        self._took_over: tuple[str, str] | None = None  # the optimizer before and the present one, until that is sent

    def follow(self, optimizer: Any) -> None:
        """The training steps with this one now. Its schedule is looked for where it is needed."""
        self._took_over = type(self._optimizer).__name__, type(optimizer).__name__
        self._optimizer, self._scheduled, self._schedule = optimizer, False, Schedule(optimizer)
        self._stood = {}

    def changes(self, now: tuple[Reading, ...], given: LoopSettings, *, epoch: int, batch: int) -> list[SettingChanged]:
        """What is different from the last call, as events; `now` are the groups as the step used them."""
        before, self._before = self._before, now
        reason = NEW_EPOCH if epoch != self._epoch else ""
        self._epoch = epoch
        self._batches += 1
        self._schedule.look()
        taken, self._took_over = self._took_over, None
        of_groups = _of_another(taken, before, now, self._optimizer) if taken else self._of_groups(before, now, reason)
        found = [*self._of_loop(given, reason), *(of_groups if before or taken else ())]
        return self._events.events(epoch, batch, found)

    def _of_loop(self, given: LoopSettings, reason: str) -> Iterator[SettingChange]:
        for name, new in (("clip_norm", given.clip_norm), ("accumulate", given.accumulate)):
            old = self._given.get(name)
            if new is not None and new != old:
                self._given[name] = new
                if old is not None:
                    yield SettingChange(name, old, new, reason)
        old = self._given.setdefault("batch_size", given.batch_size)
        self._odd_sizes = 0 if given.batch_size == old else self._odd_sizes + 1
        if self._odd_sizes >= SIZE_BATCHES:
            self._given["batch_size"], self._odd_sizes = given.batch_size, 0
            yield SettingChange("batch_size", old, given.batch_size, "the loader gives other batches")

    def _of_groups(self, before: tuple[Reading, ...], now: tuple[Reading, ...], reason: str) -> Iterator[SettingChange]:
        if len(before) != len(now):  # nobody calls add_param_group by accident
            yield SettingChange("parameter_groups", len(before), len(now), "the training added parameter groups")
        scheduled = self._scheduled or any("initial_lr" in group for group in self._optimizer.param_groups)
        names = group_names(self._optimizer) if before != now else [""] * len(now)
        for index, (name, old, new) in enumerate(zip(names, before, now, strict=False)):
            stood, moved = self._stood.get(index, 0), old.rate != new.rate
            self._stood[index] = 0 if moved else stood + 1
            if moved:
                due = self._explained(index, old.rate, new.rate)
                yield from _of_rate(name, old.rate, new.rate, "the scheduler" if scheduled else reason, stood, due=due)
            if old.momentum != new.momentum and not (moved and scheduled):  # OneCycleLR and CyclicLR cycle both
                yield SettingChange(f"momentum/{name}", old.momentum, new.momentum, reason)
            if old.weight_decay != new.weight_decay:
                yield SettingChange(f"weight_decay/{name}", old.weight_decay, new.weight_decay, reason)

    def _explained(self, index: int, old: float, new: float) -> bool:
        """False for a rise that the schedule does not explain; a warm-up may begin with a few large ones."""
        return not 0.0 < RISE * old <= new or self._batches <= CONSTANT_BATCHES or self._schedule.explains(index, new)


def _of_another(
    taken: tuple[str, str], before: tuple[Reading, ...], now: tuple[Reading, ...], optimizer: Any
) -> Iterator[SettingChange]:
    yield SettingChange("optimizer", *taken, OTHER_OPTIMIZER)
    for name, old, new in zip(group_names(optimizer), before, now, strict=False):
        if old.rate != new.rate:
            yield SettingChange(f"learning_rate/{name}", old.rate, new.rate, OTHER_OPTIMIZER)


def _of_rate(name: str, old: float, new: float, reason: str, stood: int, *, due: bool) -> Iterator[SettingChange]:
    if not due:
        reason = ""
    elif not reason and stood < CONSTANT_BATCHES:
        reason = "a schedule of the training's own"
    if not reason and new < old:
        reason = "lowered by the training"
    large = old <= 0.0 or not 1.0 / STEP < new / old < STEP
    if large or not reason:
        yield SettingChange(f"learning_rate/{name}", old, new, reason)
