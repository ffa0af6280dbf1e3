"""What a loop's author may give `watch` and `batch`, made fit to be recorded. Nothing here raises.

What can't be used is left out and reported on the log, once for each argument; the batch is recorded all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from trainer_hooks.recorder.batch import Number

INNER_MAX = 8  # wrappers around wrappers, as Accelerate's around the optimizer of torch

_log = logging.getLogger("trainwarden")


class NoOptimizer:
    """Stands for the optimizer of a loop that gives none: it has no groups, and takes no steps that can be seen."""

    def __init__(self) -> None:
        self.param_groups: list[dict[str, Any]] = []


def optimizer_of(given: Any) -> tuple[Any, str]:
    """The optimizer of torch behind what was given, and a remark where that is not all of it."""
    found = optimizers_of(given)
    if len(found) > 1:
        return found[0], f"{len(found)} optimizers were given: the steps and settings of the first are recorded"
    if found:
        return found[0], ""
    what = "no optimizer was given" if given is None else f"a {type(given).__name__} is no optimizer of torch"
    return NoOptimizer(), f"{what}: batches and losses are recorded, no steps and no learning rates"


def optimizers_of(given: Any) -> list[Any]:
    """Every optimizer of torch in what was given."""
    if isinstance(given, Mapping):
        given = list(given.values())
    several = given if isinstance(given, list | tuple) else [given]
    return [found for each in several if (found := _unwrapped(each)) is not None]


def _unwrapped(given: Any) -> Any:
    """Below its wrappers, which take no hooks; None: there is no optimizer."""
    for _ in range(INNER_MAX):
        inner = getattr(given, "optimizer", None)
        if inner is None or not hasattr(inner, "param_groups"):
            break
        given = inner
    return given if hasattr(given, "param_groups") else None


def device_of(model: Any, optimizer: Any) -> torch.device:
    """Where it trains, by the first tensor of the model or of the optimizer; the CPU where there is none."""
    try:
        for tensor in (*_first(model.parameters()), *_first(model.buffers())):
            return tensor.device
    except Exception:  # noqa: BLE001 - anything may be given as a model
        _log.debug("the model gives no parameters")
    for group in optimizer.param_groups:
        for parameter in group.get("params", ()):
            if isinstance(parameter, torch.Tensor):
                return parameter.device
    return torch.device("cpu")


def _first(tensors: Iterable[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    found = next(iter(tensors), None)
    return () if found is None else (found,)


class Arguments:
    """Reads the arguments of each batch; remembers what it has complained about."""

    def __init__(self) -> None:
        self._complained: set[str] = set()
        self._from_0 = False  # an epoch 0 was given: the loop counts from 0

    def complain(self, subject: str, text: str) -> None:
        """One line on the log for each subject."""
        if subject not in self._complained:
            self._complained.add(subject)
            _log.warning("%s; training goes on", text)

    def number(self, name: str, value: Any) -> Number | None:
        """A number or a tensor of one; None: it is neither, which was reported."""
        if type(value) is float or (isinstance(value, torch.Tensor) and not value.ndim):
            return value
        try:
            if isinstance(value, torch.Tensor):
                if value.numel() == 1:
                    return value.detach().reshape(())
                self.complain(name, f"batch({name}=...): a tensor of shape {tuple(value.shape)}; its mean is recorded")
                return value.detach().float().mean() if value.numel() else None
            return float(value)
        except Exception:  # noqa: BLE001 - anything may be given
            self.complain(name, f"batch({name}=...): a {type(value).__name__} is no number; it is not recorded")
            return None

    def optional(self, name: str, value: Any) -> float | None:
        """A number of the host; None: there is none."""
        found = None if value is None else self.number(name, value)
        return None if found is None else float(found)

    def whole(self, name: str, value: Any) -> int | None:
        """A count; None: there is none."""
        if value is None or type(value) is int:
            return value
        try:
            return int(value)
        except Exception:  # noqa: BLE001 - anything may be given, infinity too
            self.complain(name, f"batch({name}=...): {value!r:.80} is no whole number; it is not recorded")
            return None

    def parts(self, value: Any) -> tuple[Number, ...]:
        """The components of the loss; none where one of them is no number."""
        if value is None:
            return ()
        try:
            given = tuple(value.values()) if isinstance(value, Mapping) else tuple(value)
        except TypeError:
            given = (value,)
        found = [self.number("parts", each) for each in given]
        usable = tuple(each for each in found if each is not None)
        return usable if len(usable) == len(found) else ()

    def epoch(self, value: Any, present: int) -> int:
        """From 1; `present` where none is given."""
        found = self.whole("epoch", value)
        if found is None:
            return max(present, 1)
        if found < 1 and not self._from_0:
            self._from_0 = True
            self.complain("epoch", "batch(epoch=...) counts from 1; this loop counts from 0, so 1 is added")
        return max(found + self._from_0, 1)
