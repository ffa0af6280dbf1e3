"""Has a trainer begin its next epoch within: its loop counts on from there, over the batches that are left.

`_do_train` counts its batches by `enumerate(self.train_loader)`. Until the first batch has come, that name means ours
in the modules of the trainer's `_do_train`; what else they enumerate meanwhile is enumerated as ever.
"""

from __future__ import annotations

import builtins
import functools
import inspect
from collections.abc import Iterator
from itertools import islice
from typing import Any

_ABSENT = object()


class EpochPosition:
    """For one start of a trainer's loop."""

    def __init__(self, trainer: Any, batches: int) -> None:
        self.reached = False  # the loop has counted from `batches` on
        self._batches = batches
        self._replaced: list[tuple[dict[str, Any], str, Any]] = []
        for space, names in _loops(type(trainer)):
            self._replace(space, "enumerate", functools.partial(self._enumerate, trainer))
            if "TQDM" in names:
                self._replace(space, "TQDM", functools.partial(self._bar, space["TQDM"]))

    def end(self) -> None:
        """The first batch has come: leave the modules as they were."""
        while self._replaced:
            space, name, before = self._replaced.pop()
            if before is _ABSENT:
                space.pop(name, None)
            else:
                space[name] = before

    def _replace(self, space: dict[str, Any], name: str, ours: Any) -> None:
        self._replaced.append((space, name, space.get(name, _ABSENT)))
        space[name] = ours

    def _enumerate(self, trainer: Any, iterable: Any, start: int = 0) -> Any:
        if iterable is not trainer.train_loader or start:
            return builtins.enumerate(iterable, start)
        self.reached = True
        left = max(0, len(iterable) - self._batches)
        return builtins.enumerate(_first(iterable, left), self._batches)

    def _bar(self, original: Any, *args: Any, **options: Any) -> Any:
        try:
            return original(*args, **{"initial": self._batches, **options})
        except TypeError:  # a bar that can't begin within
            return original(*args, **options)


def _first(iterable: Any, count: int) -> Iterator[Any]:
    """Its iterator is made when the first is asked for, as `enumerate` of a generator does."""
    yield from islice(iterable, count)


def _loops(kind: type) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    """The globals of every `_do_train` that a trainer of this class may run, with the names that it uses."""
    for each in kind.__mro__:
        function = each.__dict__.get("_do_train")
        if function is None:
            continue
        inner: Any = inspect.unwrap(function)
        names = getattr(getattr(inner, "__code__", None), "co_names", ())
        if {"enumerate", "train_loader"} <= set(names):
            yield inner.__globals__, names
