"""The plan whose settings hold now in a trainer of Ultralytics, and the proof that they do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from trainer_hooks.guard import Guard
from trainer_hooks.integrations.ultralytics.plan_settings import apply, read_back
from trainer_hooks.parameter_groups import Reading
from trainer_hooks.ramp import Ramp
from trainer_hooks.wire.messages import PlanApplied
from trainer_hooks.wire.plan import Plan


class PlanInForce:
    """The plan whose settings hold now: its ramp, what is left to prove about it, the samples still to be met."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._ramp: Ramp | None = None
        self._samples_left = set(plan.onset_samples)
        self._events_due = ["first step", "ramp end"]
        self._fresh = True
        self._read_back: dict[str, str] = {}

    def apply(self, trainer: Any, guard: Guard, warming: Callable[[], bool]) -> dict[str, str]:
        """Set everything; get what it reads afterwards. Raises PlanError, with nothing changed.

        Settings that are the script's own are in force already, its warm-up included.
        """
        if self.plan.own_settings:
            self._read_back = read_back(trainer)
            return self._read_back
        applied = apply(self.plan, trainer)
        guard.clip_to(self.plan.settings.clip_norm)
        self._ramp = Ramp(self.plan.settings, lambda: float(trainer.lf(trainer.epoch)), warming)
        self._read_back = applied | {"clip_norm": format(self.plan.settings.clip_norm, ".6g")}
        return self._read_back

    def apply_again(self, trainer: Any) -> None:
        """After a recovery of the trainer's own has loaded an older optimizer state over the settings."""
        if not self.plan.own_settings:
            apply(self.plan, trainer)

    def before_step(self, optimizer: Any) -> None:
        """A step of the optimizer is about to be taken."""
        if self._ramp is not None:
            self._ramp.before_step(optimizer)

    def after_step(self, optimizer: Any) -> None:
        """It was taken."""
        if self._ramp is not None:
            self._ramp.after_step(optimizer)

    @property
    def ramp_fraction(self) -> float | None:
        """How far our ramp is in this batch; None: it is over, or the plan has none."""
        fraction = 1.0 if self._ramp is None else self._ramp.fraction
        return fraction if fraction < 1.0 else None

    def samples_left(self, met: tuple[str, ...]) -> int:
        """How many samples of the onset this generation has not met, now that it has met these."""
        if self._samples_left:
            self._samples_left.difference_update(met)
        return len(self._samples_left)

    def just_applied(self) -> bool:
        """True on the first call: what changed since the last batch was changed by the plan."""
        fresh, self._fresh = self._fresh, False
        return fresh

    def batch_ended(self, used: tuple[Reading, ...], clip_norm: float | None) -> list[PlanApplied]:
        """Move the ramp on by one batch; returns its events. `used` is empty where no step was taken."""
        ramp = self._ramp
        over = ramp is None or ramp.fraction >= 1.0
        due = [when for when in self._events_due if used and (when == "first step" or over)]
        self._events_due = [when for when in self._events_due if when not in due]
        events = [
            PlanApplied(
                time.time(),
                self.plan.id,
                when,
                self.plan.start_epoch,
                self._read_back,
                ramp.mismatches(used, clip_norm) if ramp is not None else (),
            )
            for when in due
        ]
        if ramp is not None:
            ramp.batches += 1
        return events
