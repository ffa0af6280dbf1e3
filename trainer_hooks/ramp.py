"""Our own warm-up after a plan, for any optimizer.

It works inside the optimizer step, the last moment before a rate is used, so nothing a trainer does between steps can
raise it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from trainer_hooks.parameter_groups import RELATIVE_TOLERANCE, Reading, momentum_of, set_momentum
from trainer_hooks.wire.plan import GroupSettings, Settings


class Ramp:
    """Our own warm-up: from (almost) 0 to each group's full rate, whatever the trainer's own warm-up does meanwhile.

    `schedule` gives the trainer's factor of this epoch; `warming` says whether its own warm-up is still on. The ramp
    governs until both are over, and restores after each step what the trainer had set.
    """

    def __init__(self, settings: Settings, schedule: Callable[[], float], warming: Callable[[], bool]) -> None:
        self.settings = settings
        self.batches = 0  # batches ended since it began
        self._schedule = schedule
        self._warming = warming
        self._before: list[tuple[float, float | None]] | None = None
        self._governed = False  # in the step before

    @property
    def fraction(self) -> float:
        """How far it has come in the present batch, above 0 and at most 1."""
        length = self.settings.ramp_batches
        return min(1.0, (self.batches + 1) / length) if length > 0 else 1.0

    @property
    def governs(self) -> bool:
        """True: the rates of this batch's step are ours."""
        return self.fraction < 1.0 or self._warming()

    def expected(self) -> tuple[float, ...]:
        """The rate of each group in this batch's step."""
        factor = self._schedule() * self.fraction
        return tuple(_capped(group, factor) for group in self.settings.groups)

    def before_step(self, optimizer: Any, *_: object) -> None:
        """A step of the optimizer is about to be taken."""
        if not self.governs:
            self._hand_over(optimizer)
            return
        self._governed = True
        self._before = [(group["lr"], momentum_of(group)) for group in optimizer.param_groups]
        for group, rate in zip(optimizer.param_groups, self.expected(), strict=True):
            group["lr"] = rate
            set_momentum(group, self.settings.momentum)

    def after_step(self, optimizer: Any, *_: object) -> None:
        """It was taken."""
        before, self._before = self._before, None
        if before is None:
            return
        for group, (rate, momentum) in zip(optimizer.param_groups, before, strict=True):
            group["lr"] = rate
            if momentum is not None:
                set_momentum(group, momentum)

    def _hand_over(self, optimizer: Any) -> None:
        """Leave the full values behind: some releases' own warm-up stops a batch short of them and stays there."""
        if self._governed:
            self._governed = False
            for group, rate in zip(optimizer.param_groups, self.expected(), strict=True):
                group["lr"] = rate
                set_momentum(group, self.settings.momentum)

    def mismatches(self, used: tuple[Reading, ...], clip_norm: float | None) -> tuple[str, ...]:
        """Sentences for every value of `used`, read inside a step of this batch, that is not the plan's."""
        found = []
        for group, wanted, reading in zip(self.settings.groups, self.expected(), used, strict=True):
            pairs = [
                ("learning rate", reading.rate, wanted),
                ("weight decay", reading.weight_decay, group.weight_decay),
                ("momentum", reading.momentum, self.settings.momentum),
            ]
            found += [
                f"{name} of {group.name} is {is_!r}: the plan says {should!r}"
                for name, is_, should in pairs
                if _differ(is_, should)
            ]
        if _differ(clip_norm, self.settings.clip_norm):
            found.append(f"gradients were clipped to {clip_norm!r}: the plan says {self.settings.clip_norm!r}")
        return tuple(found)


def _capped(group: GroupSettings, factor: float) -> float:
    rate = group.base_rate * factor
    return rate if group.rate_max is None else min(rate, group.rate_max)


def _differ(found: float | None, wanted: float) -> bool:
    return found is not None and not math.isclose(found, wanted, rel_tol=RELATIVE_TOLERANCE)
