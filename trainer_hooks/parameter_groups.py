"""What the parameter groups of any torch optimizer are called and set to, and how to set their momentum."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

RELATIVE_TOLERANCE = 1e-6  # floats that went through a product or two
_IMMUTABLE = (float, int, type(None))  # a rate or a beta may be a tensor, which changes without being another one


class Reading(NamedTuple):
    """What one parameter group is set to at one moment."""

    rate: float
    momentum: float | None  # None: this optimizer has none
    weight_decay: float


def readings(optimizer: Any) -> tuple[Reading, ...]:
    """Each group's values as they are now; inside a step: what the step uses."""
    groups = optimizer.param_groups
    return tuple([Reading(float(g["lr"]), momentum_of(g), float(g.get("weight_decay", 0.0))) for g in groups])


_BY_MOMENTUM = operator.itemgetter("lr", "momentum", "weight_decay")


def _by_any_name(group: dict[str, Any]) -> tuple[Any, ...]:
    momentum = group.get("momentum") if "momentum" in group else group.get("betas")
    return group["lr"], momentum, group.get("weight_decay")


class GroupReader:
    """Reads the groups of one optimizer at each step; gives the very same tuple again while nothing has changed."""

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer
        self._values: Callable[[dict[str, Any]], tuple[Any, ...]] = _BY_MOMENTUM  # of one group, as they are kept
        self._raw: list[tuple[Any, ...]] = []
        self._readings: tuple[Reading, ...] = ()

    def read(self) -> tuple[Reading, ...]:
        """As `readings`."""
        groups = self._optimizer.param_groups
        try:
            raw = list(map(self._values, groups))
        except KeyError:  # not of these names: slower, from now on
            self._values = _by_any_name
            raw = list(map(self._values, groups))
        if raw != self._raw or not raw:
            self._readings = readings(self._optimizer)
            self._raw = raw if all(type(value) in _IMMUTABLE for group in raw for value in group) else []
        return self._readings


def momentum_of(group: dict[str, Any]) -> float | None:
    """The group's momentum, by either of its two names; None: this optimizer has none.

    A float, also where the trainer keeps one of numpy's, which the wire can't carry.
    """
    if "momentum" in group:
        return float(group["momentum"])
    return float(group["betas"][0]) if "betas" in group else None


def group_names(optimizer: Any) -> tuple[str, ...]:
    """Names of the parameter groups; one without a name of its own is "group<i>", a repeated name gets its index."""
    groups = optimizer.param_groups
    names = [str(group.get("param_group") or f"group{index}") for index, group in enumerate(groups)]
    return tuple(f"{name}{index}" if names.count(name) > 1 else name for index, name in enumerate(names))


def set_momentum(group: dict[str, Any], momentum: float) -> None:
    """Set the group's momentum under the name that it has; does nothing where this optimizer has none."""
    if "momentum" in group:
        group["momentum"] = momentum
    elif "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
