"""Whether a training has recovered by itself before an order to go back reached it.

Its framework or its script may have loaded an older state meanwhile. Going back then would only throw away what was
trained since. Finite is not enough: a file in which NaN was turned to zero is finite too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from trainer_hooks.recorder.assess import Counted
from trainer_hooks.tensors import first_nonfinite, largest, statistics_modules, unwrap


class NotNeededError(Exception):
    """The order is not needed any more. Says what shows it; nothing was changed."""


class HealedBesideError(NotNeededError):
    """The weights stay: what was not finite beside them is put back. Says what that is."""


class Healed:
    """Of one training. Asked only when an order is there."""

    def __init__(self, counted: Counted) -> None:
        self._counted = counted
        self._healed_from = 0  # batches that left something non-finite, when it was last said; 0: it never was

    @property
    def finite_batches(self) -> int:
        """In a row, up to the last one."""
        return self._counted.batches - self._counted.bad_at

    def check(
        self, model: torch.nn.Module, tensors: Mapping[str, torch.Tensor], optimizers: Iterable[torch.optim.Optimizer]
    ) -> None:
        """Raises NotNeededError where it has recovered. Of damage that comes back it recovers only once.

        `tensors`: parameters, buffers and averages. Waits for the device.
        """
        counted = self._counted
        finite, damaged = self.finite_batches, counted.nonfinite_parameter + counted.nonfinite_buffer
        if finite <= 0 or 0 < self._healed_from < damaged:
            return
        try:
            bad = first_nonfinite(unmeant(model, tensors).items()) or first_nonfinite(states_of(optimizers))
            if bad or not _has_weights(model):
                return
        except RuntimeError:  # torch's, as where the memory is full: what can't be looked at is not taken for healed
            return
        self._healed_from = damaged
        last = "so is the last batch" if finite == 1 else f"so are the last {finite} batches"
        raise NotNeededError(f"weights, statistics, average and optimizer are finite, and {last}")


def states_of(optimizers: Iterable[torch.optim.Optimizer]) -> Iterable[tuple[str, torch.Tensor]]:
    """Every tensor that optimizers keep, with its name."""
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


def unmeant(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the buffers that hold infinity and no NaN, such as an attention mask or the least value seen so far.

    Running statistics never count as such. An average keeps them under the names that the model has.
    """
    statistics = {name for name, _ in statistics_modules(model)}
    free = [name for name, _ in unwrap(model).named_buffers() if name.rpartition(".")[0] not in statistics]
    ends = tuple(f"{before}{name}" for name in free for before in (".", " "))
    return {
        name: tensor
        for name, tensor in tensors.items()
        if not (name in free or name.endswith(ends)) or not _only_infinite(tensor)
    }


def _only_infinite(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and bool(tensor.isinf().any()) and not bool(tensor.isnan().any())
