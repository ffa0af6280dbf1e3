"""Reading tensors of a live training cheaply: is anything non-finite, and what are these few scalars. Never writes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch


def unwrap(model: torch.nn.Module) -> torch.nn.Module:
    """The module itself, out of DistributedDataParallel or DataParallel and torch.compile."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, torch.nn.parallel.DistributedDataParallel | torch.nn.DataParallel):
            inner = model.module
        if inner is None:
            return model
        model = inner


def statistics_modules(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """Every normalisation layer that keeps running statistics, with its name."""
    for name, module in unwrap(model).named_modules():
        if getattr(module, "track_running_stats", False) and getattr(module, "running_mean", None) is not None:
            yield name, module


def largest(tensors: Iterable[torch.Tensor]) -> torch.Tensor | None:
    """The largest magnitude in all floating tensors as a 0-dim tensor, non-finite if any value is.

    The maximum norm, since a sum of squares overflows to infinity on finite values. None: there is no value to look at.
    """
    floating = [tensor for tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    if not floating:
        return None
    with torch.no_grad():
        return torch.stack(torch._foreach_norm(floating, math.inf)).amax()


def any_nonfinite(tensors: Iterable[torch.Tensor]) -> bool:
    """True: some value is non-finite. Waits for the device."""
    measure = largest(tensors)
    return measure is not None and not math.isfinite(measure.item())


def first_nonfinite(named: Iterable[tuple[str, torch.Tensor]]) -> str:
    """The name of the first tensor with a non-finite value; empty: all are finite. Waits for the device."""
    for name, tensor in named:
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            return name
    return ""


def is_away(value: torch.Tensor | float) -> bool:
    """True: the value lies on a device, and reading it now would wait for that."""
    return isinstance(value, torch.Tensor) and not value.is_cpu


def read(scalars: Sequence[torch.Tensor | float]) -> list[float]:
    """The values of 0-dim tensors and numbers; those that lie on a device come in one copy."""
    away = [scalar for scalar in scalars if isinstance(scalar, torch.Tensor) and not scalar.is_cpu]
    if not away:
        return [scalar.item() if isinstance(scalar, torch.Tensor) else float(scalar) for scalar in scalars]
    arrived = iter(torch.stack([scalar.detach().reshape(()).float() for scalar in away]).tolist())
    return [next(arrived) if is_away(scalar) else float(scalar) for scalar in scalars]


def gradients(parameters: Iterable[torch.Tensor]) -> list[torch.Tensor] | None:
    """The gradients that a step would use, of sparse ones their values. None: one is of a kind that can't be read."""
    found = []
    for parameter in parameters:
        grad = parameter.grad
        if grad is None:
            continue
        if type(grad) is not torch.Tensor:  # sharded, for one: to read it, every rank would have to take part
            return None
        found.append(dense(grad))
    return found


def dense(grad: torch.Tensor) -> torch.Tensor:
    """The values that a gradient holds, be it a sparse one."""
    return grad if grad.layout == torch.strided else grad._values()


def total_norm(parameters: Iterable[torch.Tensor]) -> torch.Tensor | None:
    """The L2 norm of all gradients together, as a 0-dim tensor. None: there are none, or they can't be read here."""
    grads = gradients(parameters)
    if not grads:
        return None
    first = grads[0].device
    with torch.no_grad():
        if all(grad.device == first for grad in grads):
            return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
        return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(grad).to(first) for grad in grads]))


def parameters_of(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """All that its groups hold now."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


class Memory(NamedTuple):
    """Of the caching allocator, in bytes; all None without a CUDA device."""

    allocated: int | None = None
    reserved: int | None = None
    peak: int | None = None
    retries: int | None = None


NO_MEMORY = Memory()


def memory(device: torch.device) -> Memory:
    """What the device's allocator holds now. One call for all of it, without a device sync."""
    if device.type != "cuda":
        return NO_MEMORY
    statistics = torch.cuda.memory_stats_as_nested_dict(device)
    allocated = statistics.get("allocated_bytes", {}).get("all", {})
    reserved = statistics.get("reserved_bytes", {}).get("all", {})
    return Memory(
        allocated.get("current"), reserved.get("current"), allocated.get("peak"), statistics.get("num_alloc_retries")
    )


class DelayedRead:
    """Scalars on their way to the host: asked for now, read when the device has got there. Never waits for it."""

    __slots__ = ("_arrived", "_host")

    def __init__(self, scalars: Sequence[torch.Tensor]) -> None:
        stacked = torch.stack([scalar.detach().reshape(()).float() for scalar in scalars])
        self._host = torch.empty(stacked.shape, dtype=stacked.dtype, pin_memory=True)
        self._host.copy_(stacked, non_blocking=True)
        self._arrived = torch.cuda.Event()
        self._arrived.record()

    def values(self) -> list[float] | None:
        """The values, or None while the device is still busy with them."""
        if not self._arrived.query():
            return None
        values: list[float] = self._host.tolist()
        return values


class StatisticsBackup:
    """The running statistics of a model's normalisation layers, as they were when they were last known to be finite.

    Copy and scan are one: `begin` copies all of them into one flat tensor and measures that; the copy counts only after
    `commit` got a finite measure. So a poisoned state can never become the backup.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._names: list[str] = []
        self._live: list[torch.Tensor] = []
        self._counters: list[torch.Tensor] = []
        for name, module in statistics_modules(model):
            self._names += [f"{name}.running_mean", f"{name}.running_var"]
            self._live += [module.running_mean, module.running_var]
            if module.num_batches_tracked is not None:
                self._counters.append(module.num_batches_tracked)
        self._sizes = [tensor.numel() for tensor in self._live]
        self._good: tuple[torch.Tensor, torch.Tensor | None] | None = None
        self._candidate: tuple[torch.Tensor, torch.Tensor | None] | None = None

    @property
    def empty(self) -> bool:
        """True: the model keeps no running statistics, there is nothing to back up."""
        return not self._live

    @property
    def ready(self) -> bool:
        """True: there is a good backup to go back to."""
        return self._good is not None

    @property
    def waits(self) -> bool:
        """True: a copy waits for its measure. Another one now would count by the measure of that."""
        return self._candidate is not None

    def measure(self) -> torch.Tensor | None:
        """The largest magnitude of the live statistics, as a 0-dim tensor; None: there are none."""
        return None if self.empty else torch.linalg.vector_norm(self._flat(), math.inf)

    def begin(self) -> torch.Tensor | None:
        """Copy the live statistics aside; returns their measure for `commit`. None: there are none."""
        if self.empty:
            return None
        flat = self._flat()
        self._candidate = flat, torch.stack(self._counters) if self._counters else None
        return torch.linalg.vector_norm(flat, math.inf)

    def commit(self, measure: float) -> bool:
        """True: the copy was finite and is the backup now. False: the live statistics are poisoned."""
        if not math.isfinite(measure):
            self._candidate = None
            return False
        self._good, self._candidate = self._candidate or self._good, None
        return True

    def restore(self) -> bool:
        """Put the backup into the live statistics. False: there is none."""
        if self._good is None:
            return False
        flat, counters = self._good
        with torch.no_grad():
            parts = [part.view_as(live) for part, live in zip(flat.split(self._sizes), self._live, strict=True)]
            _copy(self._live, parts)
            if counters is not None:
                _copy(self._counters, counters.unbind())
        return True

    def first_bad(self) -> str:
        """The name of the first statistic that is non-finite now; empty: none. Waits for the device."""
        return first_nonfinite(zip(self._names, self._live, strict=True))

    def _flat(self) -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([tensor.flatten() for tensor in self._live])


def _copy(into: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
    """Only after a bad batch: torch's copy of many at once, which is quicker, is missing before torch 2.1."""
    for tensor, value in zip(into, values, strict=True):
        tensor.copy_(value)
