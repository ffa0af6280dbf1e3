"""Whether the schedule of a training explains that a rate rose at once. Reads a scheduler, never changes one.

A scheduler explains what follows from its type and its arguments: the rate that it gives now from the base rates that
it had when it was first seen. A rate that somebody else multiplied, or whose base rate somebody did, does not follow.
Without a scheduler a rise is explained where the same height was reached by a rise before: a warm restart.
"""

from __future__ import annotations

import gc
import math
from bisect import bisect_right
from typing import Any

RISE = 3.0  # times the rate of the batch before; less is no jump
NEAR = 1e-3  # of a rate: schedulers that go from rate to rate gather rounding errors
MOVED_ON = 1.5  # a scheduler may have stepped since the rate was used: by so much at most
SEEN_BEFORE = 1.1  # times the height of an earlier rise
SEARCHES_MAX = 3  # for a scheduler that `watch` was not given: each looks through every object of the process


class Schedule:
    """The schedule of one optimizer, as far as it is known. `scheduler` None: it is looked for where it is needed."""

    def __init__(self, optimizer: Any, scheduler: Any = None) -> None:
        self._optimizer, self._scheduler = optimizer, scheduler
        self._bases: dict[int, float] = {}  # by group: the base rate as it was first seen
        self._tops: dict[int, float] = {}  # by group: the highest rate that its schedule was made for
        self._risen: dict[int, float] = {}  # by group: the highest rate that a rise led to
        self.searches = 0  # for a scheduler so far
        self.look()

    def look(self) -> None:
        """Remember the base rate of groups that a scheduler has just taken over."""
        groups = self._optimizer.param_groups
        if len(self._bases) == len(groups):
            return
        for index, group in enumerate(groups):
            if index not in self._bases and (base := group.get("initial_lr")) is not None:
                self._bases[index] = float(base)
                self._tops[index] = max(float(base), float(group.get("max_lr", base)))

    def explains(self, index: int, new: float) -> bool:
        """Whether it explains that the rate of a group rose to `new`, which the last step used."""
        seen = self._risen.get(index, 0.0)
        self._risen[index] = max(seen, new)
        return new <= SEEN_BEFORE * seen or self._follows(index, new)

    def _follows(self, index: int, new: float) -> bool:
        base = self._bases.get(index)
        if base is None:
            return False
        scheduler = self._scheduler = self._scheduler or self._search()
        tops = getattr(scheduler, "max_lrs", None)  # CyclicLR
        top = max(self._tops[index], float(tops[index]) if tops else 0.0) * (1.0 + NEAR)
        parts = [scheduler, *getattr(scheduler, "_schedulers", ())]
        bases = next((found for part in parts if (found := getattr(part, "base_lrs", None))), None)
        if bases is None:  # there is none, or it is none of torch's
            return new <= top
        if not _near(float(bases[index]), base):
            return False
        due, now = _rate_of(scheduler, index), float(self._optimizer.param_groups[index]["lr"])
        if due is None:
            return _near(now, float(scheduler.get_last_lr()[index])) and max(now, new) <= top
        return _near(now, due) and 1.0 / MOVED_ON <= new / max(now, 1e-300) <= MOVED_ON

    def _search(self) -> Any:
        """The scheduler of torch that holds the optimizer; None: there is none, or it was looked for often enough."""
        if self.searches >= SEARCHES_MAX:
            return None
        self.searches += 1
        found = [
            owner
            for holder in gc.get_referrers(self._optimizer)
            for owner in (gc.get_referrers(holder) if isinstance(holder, dict) and "last_epoch" in holder else [holder])
            if hasattr(owner, "last_epoch") and hasattr(owner, "get_last_lr")
        ]
        inner = {id(part) for each in found for part in getattr(each, "_schedulers", ())}
        return next((each for each in found if id(each) not in inner), None)


def _rate_of(scheduler: Any, index: int) -> float | None:
    """What a scheduler gives a group now by its type and arguments alone; None: its type does not say it."""
    if (functions := getattr(scheduler, "lr_lambdas", None)) is not None and type(scheduler).__name__ == "LambdaLR":
        return float(scheduler.base_lrs[index]) * float(functions[index](scheduler.last_epoch))
    if (closed := getattr(scheduler, "_get_closed_form_lr", None)) is not None:
        return float(closed()[index])
    if (milestones := getattr(scheduler, "_milestones", None)) is not None:  # SequentialLR
        return _rate_of(scheduler._schedulers[bisect_right(milestones, scheduler.last_epoch)], index)
    return None


def _near(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=NEAR)
