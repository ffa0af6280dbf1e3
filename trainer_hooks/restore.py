"""Puts a plan's settings into a live trainer, in the process or at a relaunch, and reads back what became of them.

Values are absolute and go wherever the trainer keeps them: parameter groups, the scheduler's base rates, the arguments.
The ramp works inside the optimizer step, the last moment before a rate is used, so nothing the trainer does between
steps can raise it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from trainer_hooks.wire.runfolder import GroupSettings, Plan, Settings

RELATIVE_TOLERANCE = 1e-6  # floats that went through a product or two
UNNAMED = ("bias", "weight", "bn")  # in the order in which Ultralytics before 8.4 adds them; biases warm up down


class PlanError(Exception):
    """The plan does not fit this trainer. Says where, which value was found and which was expected."""


class Reading(NamedTuple):
    """What one parameter group is set to at one moment."""

    rate: float
    momentum: float | None  # None: this optimizer has none
    weight_decay: float


def readings(optimizer: Any) -> tuple[Reading, ...]:
    """Each group's values as they are now; inside a step: what the step uses."""
    groups = optimizer.param_groups
    return tuple([Reading(float(g["lr"]), momentum_of(g), float(g.get("weight_decay", 0.0))) for g in groups])


def momentum_of(group: dict[str, Any]) -> float | None:
    """The group's momentum, by either of its two names; None: this optimizer has none.

    A float, also where the trainer keeps one of numpy's, which is no value of the wire.
    """
    if "momentum" in group:
        return float(group["momentum"])
    return float(group["betas"][0]) if "betas" in group else None


def group_names(optimizer: Any) -> tuple[str, ...]:
    """Names of the parameter groups; one without a name of its own is "group<i>", a repeated name gets its index.

    Releases of Ultralytics that name no group build these three, and the biases are to be told apart in them too.
    """
    groups = optimizer.param_groups
    if _like_unnamed(groups):
        return UNNAMED
    names = [str(group.get("param_group") or f"group{index}") for index, group in enumerate(groups)]
    return tuple(f"{name}{index}" if names.count(name) > 1 else name for index, name in enumerate(names))


def _like_unnamed(groups: list[dict[str, Any]]) -> bool:
    """True: three groups without a name, where only the second holds matrices and kernels."""
    if len(groups) != len(UNNAMED) or any("param_group" in group for group in groups):
        return False
    return [any(parameter.ndim > 1 for parameter in group["params"]) for group in groups] == [False, True, False]


def check(settings: Settings, optimizer: Any) -> None:
    """Raises PlanError where the plan was made for other parameter groups than these."""
    names = group_names(optimizer)
    planned = tuple(group.name for group in settings.groups)
    if planned != names:
        raise PlanError(f"parameter groups are {', '.join(names)}: the plan is for {', '.join(planned)}")


def apply(plan: Plan, trainer: Any) -> dict[str, str]:
    """Set the plan's values in the trainer's optimizer, scheduler and arguments; get what they read afterwards.

    Doing it twice is doing it once. Raises PlanError, with nothing changed, where the parameter groups are others.
    The clip value and the ramp are not the trainer's: see Guard.clip_norm and Ramp.
    """
    settings = plan.settings
    check(settings, trainer.optimizer)
    factor = float(trainer.lf(getattr(trainer, "epoch", trainer.start_epoch)))
    for group, wanted in zip(trainer.optimizer.param_groups, settings.groups, strict=True):
        group["initial_lr"] = wanted.base_rate
        group["lr"] = wanted.base_rate * factor
        group["weight_decay"] = wanted.weight_decay
        _set_momentum(group, settings.momentum)
    trainer.scheduler.base_lrs = [group.base_rate for group in settings.groups]
    arguments = trainer.args
    arguments.lr0 = settings.learning_rate
    arguments.momentum = settings.momentum
    arguments.weight_decay = settings.weight_decay
    arguments.warmup_epochs = settings.warmup_epochs
    arguments.warmup_bias_lr = min(float(arguments.warmup_bias_lr), settings.learning_rate)
    return read_back(trainer)


def read_back(trainer: Any) -> dict[str, str]:
    """What the places that `apply` writes to say now, by name."""
    found: dict[str, float | None] = {
        "lr0": float(trainer.args.lr0),
        "momentum": momentum_of(trainer.optimizer.param_groups[0]),
        "weight_decay": float(trainer.args.weight_decay),
        "warmup_epochs": float(trainer.args.warmup_epochs),
    }
    groups = zip(
        group_names(trainer.optimizer), trainer.optimizer.param_groups, trainer.scheduler.base_lrs, strict=True
    )
    for name, group, base_rate in groups:
        found[f"learning_rate/{name}"] = float(base_rate)
        found[f"weight_decay/{name}"] = float(group["weight_decay"])
    return {name: "none" if value is None else format(value, ".6g") for name, value in found.items()}


class Ramp:
    """Our own warm-up: from (almost) 0 to each group's full rate, whatever the trainer's own warm-up does meanwhile.

    `schedule` gives the trainer's factor of this epoch; `warming` says whether its own warm-up is still on. The ramp
    governs until both are over, and puts back after each step what the trainer had set.
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
        """Optimizer step pre-hook."""
        if not self.governs:
            self._hand_over(optimizer)
            return
        self._governed = True
        self._before = [(group["lr"], momentum_of(group)) for group in optimizer.param_groups]
        for group, rate in zip(optimizer.param_groups, self.expected(), strict=True):
            group["lr"] = rate
            _set_momentum(group, self.settings.momentum)

    def after_step(self, optimizer: Any, *_: object) -> None:
        """Optimizer step post-hook."""
        before, self._before = self._before, None
        if before is None:
            return
        for group, (rate, momentum) in zip(optimizer.param_groups, before, strict=True):
            group["lr"] = rate
            if momentum is not None:
                _set_momentum(group, momentum)

    def _hand_over(self, optimizer: Any) -> None:
        """Leave the full values behind: some releases' own warm-up stops a batch short of them and stays there."""
        if self._governed:
            self._governed = False
            for group, rate in zip(optimizer.param_groups, self.expected(), strict=True):
                group["lr"] = rate
                _set_momentum(group, self.settings.momentum)

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


def _set_momentum(group: dict[str, Any], momentum: float) -> None:
    if "momentum" in group:
        group["momentum"] = momentum
    elif "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
