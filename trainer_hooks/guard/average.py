"""The moving average of a guarded training: kept from a state that a bad batch left, and restored where it can be."""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch

from trainer_hooks.fail_open import FailOpen
from trainer_hooks.tensors import any_nonfinite, first_nonfinite, statistics_modules


class GuardedAverage:
    """Comes between a trainer and the `update` of its average. `may_update` is asked before each."""

    def __init__(self, fail_open: FailOpen, may_update: Callable[[], bool]) -> None:
        self._fail_open = fail_open
        self._may_update = may_update
        self._asks = True  # False: that failed too often
        self.bound: Any = None  # None: there is none
        self._own_update: Any = None  # what the average itself, not its class, had there

    def bind(self, average: Any) -> None:
        """To this average, which a recovery may have built anew. None: the one before stays bound."""
        if average is None or average is self.bound:
            return
        self.unbind()
        self.bound, self._own_update = average, vars(average).get("update")
        average.update = functools.partial(self._update, average.update)

    def unbind(self) -> None:
        """Leave the average alone again, unless somebody else has come between since."""
        update = vars(self.bound).get("update") if self.bound is not None else None
        if not isinstance(update, functools.partial) or update.func != self._update:
            return
        if self._own_update is None:
            del self.bound.update
        else:
            self.bound.update = self._own_update

    def heal(self, model: torch.nn.Module, *, acts: bool) -> str:
        """Restore its statistics from the model's; the name of what stays bad."""
        average = getattr(self.bound, "ema", None)
        if average is None or not any_nonfinite(chain(average.parameters(), average.buffers())):
            return ""
        if acts:
            live = dict(statistics_modules(model))
            for name, module in statistics_modules(average):
                for statistic in ("running_mean", "running_var"):
                    mine, theirs = getattr(module, statistic), getattr(live.get(name), statistic, None)
                    if theirs is not None and not bool(torch.isfinite(mine).all()):
                        mine.copy_(theirs)
        bad = first_nonfinite(chain(average.named_parameters(), average.named_buffers()))
        return f"average of {bad}" if bad else ""

    def _update(self, update: Callable[..., Any], *args: Any, **options: Any) -> Any:
        may = True
        if self._asks:
            try:
                may = self._may_update()
            except Exception as error:  # noqa: BLE001 - as FailOpen.run
                self._asks = self._fail_open.failed("guard average", error)
        return update(*args, **options) if may else None
