"""Whether a training has recovered by itself before an order to go back reached it.

Its framework or its script may have loaded an older state meanwhile. Going back then would only throw away what was
trained since. Finite is not enough: a file in which NaN was turned to zero is finite too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from trainer_hooks.recorder.assess import Counted
from trainer_hooks.tensors import first_nonfinite, largest, statistics_modules


class NotNeededError(Exception):
    """The order is not needed any more. Says what shows it; nothing was changed."""


class Healed:
    """Of one training. Asked only when an order is there."""

    def __init__(self, counted: Counted) -> None:
        self._counted = counted
        self._healed_from = 0  # batches that left something non-finite, when it was last said; 0: it never was

    def check(
        self, model: torch.nn.Module, tensors: Mapping[str, torch.Tensor], optimizers: Iterable[torch.optim.Optimizer]
    ) -> None:
        """Raises NotNeededError where it has recovered. Of damage that comes back it recovers only once.

        `tensors`: parameters, buffers and averages. Waits for the device.
        """
        counted = self._counted
        finite, damaged = counted.batches - counted.bad_at, counted.nonfinite_parameter + counted.nonfinite_buffer
        if finite <= 0 or 0 < self._healed_from < damaged:
            return
        try:
            bad = first_nonfinite(tensors.items()) or first_nonfinite(_states(optimizers))
            if bad or not _has_weights(model):
                return
        except RuntimeError:  # torch's, as where the memory is full: what can't be looked at is not taken for healed
            return
        self._healed_from = damaged
        last = "so is the last batch" if finite == 1 else f"so are the last {finite} batches"
        raise NotNeededError(f"weights, statistics, average and optimizer are finite, and {last}")


def _states(optimizers: Iterable[torch.optim.Optimizer]) -> Iterable[tuple[str, torch.Tensor]]:
    for optimizer in optimizers:
        for state in optimizer.state.values():
            values: Mapping[str, Any] = state if isinstance(state, Mapping) else {}
            yield from ((name, value) for name, value in values.items() if isinstance(value, torch.Tensor))


def _has_weights(model: torch.nn.Module) -> bool:
    """False where weights or variances are zero, as in a file in which NaN was turned to zero."""
    weights = largest(model.parameters())
    if weights is None or not float(weights) > 0.0:
        return False
    variances = [getattr(module, "running_var", None) for _, module in statistics_modules(model)]
    return all(bool(variance.any()) for variance in variances if isinstance(variance, torch.Tensor))
