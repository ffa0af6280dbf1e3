"""Finds the optimizer that a loop steps with now, where that is not the one it was watched with.

A script may build one anew in the middle of a training, or take another one for its second half. Its old one then takes
no step any more, which would look like steps that the script leaves out.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch

from trainer_hooks import steps

MISSED = 2  # steps in a row that were due and did not come, before the first search
NOT_KNOWN = 32  # batches that are given to a step until the first one was seen: a loop may accumulate
LATER = 8  # times as many before the next one: a script may leave steps out
LAYERS = 4  # of wrappers around wrappers
SEARCHES_MAX = 4  # each looks through every object of the process, up to a quarter of a second


class Successor:
    """Of the optimizer of one loop that trains `model`. `adopt` gets the other one, before its step is taken."""

    def __init__(self, model: Any, adopt: Callable[[Any], None]) -> None:
        self._model, self._adopt = model, adopt
        self._every = 0  # the most batches from one step to the next; 0: none was seen yet
        self._since = 0  # batches since the last step
        self._missed = MISSED
        self.searches = 0
        self._found: list[Any] = []  # whose next step is waited for

    def batch_ended(self, optimizer: Any, *, stepped: bool) -> None:
        """A batch has ended, and `optimizer` has taken a step in it, or has not."""
        self._since += 1
        if stepped:
            self._every, self._since = max(self._every, self._since), 0
            self.forget()
        elif self._since >= self._missed * (self._every or NOT_KNOWN) and self.searches < SEARCHES_MAX:
            self.searches += 1
            self._missed *= LATER
            self.forget()
            self._found = others(optimizer, self._model)
            for each in self._found:
                steps.watched_step(each).add(self._steps)

    def forget(self) -> None:
        """Leave those that were found as they were."""
        found, self._found = self._found, []
        for each in found:
            steps.watched_step(each).remove(self._steps)
            steps.release(each)

    def _steps(self, optimizer: Any) -> None:
        """One of them takes a step: that is the one. Its step has begun, so it is released after the new watch."""
        self._every, self._since, self._missed = 0, 0, MISSED
        self._adopt(optimizer)
        self.forget()


def others(optimizer: Any, model: Any) -> list[Any]:
    """Every other optimizer of this process that trains a parameter of the model, or one of those of `optimizer`."""
    of_model = model.parameters() if isinstance(model, torch.nn.Module) else ()
    known = {id(each) for each in of_model} | {id(p) for group in optimizer.param_groups for p in group["params"]}
    return [each for each in _optimizers() if not _holds(each, optimizer) and _trains(each, known)]


def _holds(candidate: Any, optimizer: Any) -> bool:
    """True for the optimizer itself and what wraps it, as Accelerate does: a wrapper's step may take none."""
    layer = [candidate]
    for _ in range(LAYERS):
        if any(each is optimizer for each in layer):
            return True
        layer = [inner for each in layer for inner in steps.optimizers_within(each)[1:]]
    return False


def _optimizers() -> list[Any]:
    """By their true type: an object that only stands for another must not be woken."""
    return [each for each in gc.get_objects() if issubclass(type(each), torch.optim.Optimizer)]


def _trains(optimizer: Any, known: set[int]) -> bool:
    groups = getattr(optimizer, "param_groups", ())  # none: it is being made
    return any(id(p) in known for group in groups for p in group["params"])
