"""Finds which settings of a running training have changed since the batch before, and why if the trainer shows it."""

from __future__ import annotations

import math
import operator
from typing import Any

from trainer_hooks.parameter_groups import RELATIVE_TOLERANCE, Reading
from trainer_hooks.recorder.settings import ChangeEvents, SettingChange
from trainer_hooks.wire.messages import SettingChanged
from trainer_hooks.wire.words import OUT_OF_MEMORY

_PLAIN = ("warm-up", "accumulate", "clip_norm", "mosaic", "batch_size", "epochs", "image_size")
_ALWAYS_THERE = operator.attrgetter("batch_size", "epochs", "args.imgsz")


class TrainerSettingsWatch:
    """Compares the settings of one batch with those of the batch before."""

    def __init__(self, group_names: tuple[str, ...]) -> None:
        self._groups = group_names
        self._plain: tuple[object, ...] = ()
        self._readings: tuple[Reading, ...] = ()
        self._epoch = -1
        self._bases: list[float] = []  # of the schedule, at the last call
        self._events = ChangeEvents()

    def begin(self, trainer: Any) -> None:
        """Before the first batch: it may already be too large for the memory."""
        self._plain = tuple(trainer.batch_size if name == "batch_size" else None for name in _PLAIN)

    def changes(
        self,
        trainer: Any,
        now: tuple[Reading, ...],
        *,
        batch: int,
        clip_norm: float | None,
        mixing: bool,
        warming: bool,
        planned: bool,
    ) -> list[SettingChanged]:
        """What is different from the last call, as events. `now` are the groups as the trainer set them.

        `mixing` says whether mosaic or the like puts several images into one.
        `planned` says that a plan was applied since the last call, which then is the reason for everything.
        """
        plain = (
            "on" if warming else "off",
            getattr(trainer, "accumulate", None),
            clip_norm,
            mixing,
            *_ALWAYS_THERE(trainer),
        )
        before, self._plain = self._plain, plain
        groups, self._readings = self._readings, now
        same_epoch, self._epoch = self._epoch == trainer.epoch, trainer.epoch
        if plain == before and groups == now:  # base rates that changed are reported once the rates follow
            return []
        bases, self._bases = self._bases, _base_rates(trainer)
        pairs = list(zip(_PLAIN, before, plain, strict=False))
        if groups:
            pairs += self._group_pairs(groups, now, warming=warming)
            if not warming:
                pairs += self._rate_pairs(groups, now, None if same_epoch else _scheduled(trainer, bases))
            elif bases and bases != self._bases:  # a warm-up goes to the height of its schedule
                pairs += self._rate_pairs(groups, now, None)
        reason = "plan" if planned else ""
        changes = (
            SettingChange(name, old, new, reason or _reason(name, warming, trainer))
            for name, old, new in pairs
            if old is not None and new is not None and old != new
        )
        return self._events.events(trainer.epoch + 1, batch, changes)

    def _group_pairs(
        self, before: tuple[Reading, ...], now: tuple[Reading, ...], *, warming: bool
    ) -> list[tuple[str, object, object]]:
        pairs: list[tuple[str, object, object]] = [("parameter_groups", len(before), len(now))]
        for name, old, new in zip(self._groups, before, now, strict=False):
            pairs.append((f"weight_decay/{name}", old.weight_decay, new.weight_decay))
            if not warming:
                pairs.append((f"momentum/{name}", old.momentum, new.momentum))
        return pairs

    def _rate_pairs(
        self, before: tuple[Reading, ...], now: tuple[Reading, ...], scheduled: list[float] | None
    ) -> list[tuple[str, object, object]]:
        """Rates that move within an epoch, or (with `scheduled`) to another value than the schedule's between two."""
        expected = scheduled or [old.rate for old in before]
        return [
            (f"learning_rate/{name}", old.rate, new.rate)
            for name, old, new, due in zip(self._groups, before, now, expected, strict=False)
            if not math.isclose(new.rate, due, rel_tol=RELATIVE_TOLERANCE)
        ]


def _scheduled(trainer: Any, bases: list[float]) -> list[float] | None:
    """What the schedule says each group's rate is in this epoch; None: there is no schedule to ask.

    `bases` are the base rates it had before: where somebody multiplied one since, its schedule does not explain that.
    """
    asked = getattr(getattr(trainer, "scheduler", None), "get_last_lr", None)
    if asked is None:
        return None
    rates, now = [float(rate) for rate in asked()], _base_rates(trainer)
    if len(bases) != len(now):
        return rates
    return [rate * (old / new) if new > 0.0 else rate for rate, old, new in zip(rates, bases, now, strict=False)]


def _base_rates(trainer: Any) -> list[float]:
    return list(getattr(getattr(trainer, "scheduler", None), "base_lrs", ()))


def _reason(name: str, warming: bool, trainer: Any) -> str:
    """Why a setting changed by the trainer's own rules; empty: nobody knows."""
    if name == "warm-up":
        return "warm-up began" if warming else "warm-up ended"
    if name == "mosaic":
        return "mosaic closed"
    if name == "parameter_groups":  # nobody calls add_param_group by accident
        return "the training added parameter groups"
    if name == "accumulate" and warming:
        return "warm-up"
    if name in ("batch_size", "accumulate") and int(getattr(trainer, "_oom_retries", 0)) > 0:
        return OUT_OF_MEMORY
    timed = getattr(trainer.args, "time", None) is not None
    return "time budget" if name == "epochs" and timed else ""
