"""Puts a plan's settings into a live trainer of Ultralytics, and reads back what became of them.

Values are absolute and go wherever the trainer keeps them: parameter groups, the scheduler's base rates, the arguments.
"""

from __future__ import annotations

from typing import Any

from trainer_hooks import parameter_groups
from trainer_hooks.parameter_groups import momentum_of, set_momentum
from trainer_hooks.wire.plan import Plan, Settings

UNNAMED = ("bias", "weight", "bn")  # in the order in which Ultralytics before 8.4 adds them; biases warm up down


class PlanError(Exception):
    """The plan does not fit this trainer. Says where, which value was found and which was expected."""


def group_names(optimizer: Any) -> tuple[str, ...]:
    """Names of the parameter groups, see trainer_hooks.parameter_groups.

    Releases that name no group build these three, and the biases must be recognised in them too.
    """
    return UNNAMED if _like_unnamed(optimizer.param_groups) else parameter_groups.group_names(optimizer)


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


def apply_before_setup(settings: Settings, trainer: Any) -> None:
    """Set what the trainer reads while it builds its data sets and its warm-up. Unknown names do nothing."""
    for name, value in settings.more.items():
        if hasattr(trainer.args, name):
            setattr(trainer.args, name, value)


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
        set_momentum(group, settings.momentum)
    trainer.scheduler.base_lrs = [group.base_rate for group in settings.groups]
    arguments = trainer.args
    arguments.lr0 = settings.learning_rate
    arguments.momentum = settings.momentum
    arguments.weight_decay = settings.weight_decay
    arguments.warmup_epochs = settings.warmup_epochs
    arguments.warmup_bias_lr = min(float(arguments.warmup_bias_lr), settings.learning_rate)
    apply_before_setup(settings, trainer)
    return read_back(trainer, tuple(settings.more))


def read_back(trainer: Any, more: tuple[str, ...] = ()) -> dict[str, str]:
    """What the places that `apply` writes to say now, by name; `more`: further arguments."""
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
    found |= {name: float(getattr(trainer.args, name)) for name in more if hasattr(trainer.args, name)}
    return {name: "none" if value is None else format(value, ".6g") for name, value in found.items()}
