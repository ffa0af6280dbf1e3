"""The numbers of a batch by their names: one list for dating, shifts and evidence. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from trainer_hooks.wire.messages import BatchEnded

Read = Callable[[BatchEnded], float | None]
MIB = float(1 << 20)


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number of a batch: its name on the wire, what people call it, its unit, and how to read it."""

    name: str
    label: str
    unit: str
    read: Read


def _of(name: str, label: str, unit: str = "", scale: float = 1.0) -> Quantity:
    def read(batch: BatchEnded) -> float | None:
        value = getattr(batch, name)
        return None if value is None else value / scale

    return Quantity(name, label, unit, read)


def _compute_s(batch: BatchEnded) -> float | None:
    """The part of a batch's time that did not wait for data."""
    if batch.batch_s is None or batch.data_wait_s is None:
        return None
    return max(batch.batch_s - batch.data_wait_s, 0.0)


def _wait_share(batch: BatchEnded) -> float | None:
    """The share of a batch's time that waited for data."""
    if not batch.batch_s or batch.data_wait_s is None:
        return None
    return batch.data_wait_s / batch.batch_s


COMPUTE = Quantity("compute_s", "the time of a batch without its wait for data", "s", _compute_s)
WAIT_SHARE = Quantity("wait_share", "the share of a batch's time that waits for data", "", _wait_share)
LOSS = _of("loss", "the loss")
NORM = _of("grad_norm", "the gradient norm")
LARGEST_INSTANCES = _of("instances_max", "the largest instance count of any one image")
IMAGE_SIZE = _of("image_size", "the image size", "px")
SEQUENCE_LENGTH = _of("sequence_length", "the sequence length")
SHAPES = (LARGEST_INSTANCES, _of("instances", "the instances of a batch"), IMAGE_SIZE, SEQUENCE_LENGTH)
RESERVED = _of("memory_reserved", "reserved GPU memory", "MiB", MIB)
PLAIN = (
    LOSS,
    NORM,
    _of("momentum", "the momentum"),
    _of("weight_decay", "the weight decay"),
    _of("clip_norm", "the clip of the gradient norm"),
    _of("loss_scale", "the loss scale"),
    _of("batch_size", "the batch size"),
    *SHAPES,
    RESERVED,
    _of("memory_allocated", "allocated GPU memory", "MiB", MIB),
    _of("alloc_retries", "the allocator's retries"),
    _of("batch_s", "the time of a batch", "s"),
    _of("data_wait_s", "the wait for data", "s"),
    COMPUTE,
    _of("update_ratio", "the size of an update against the weights"),
)


def parts(names: tuple[str, ...], count: int) -> list[Quantity]:
    """The components of the loss."""
    return [_part(i, names[i] if i < len(names) else f"part{i}") for i in range(count)]


def _part(index: int, name: str) -> Quantity:
    def read(batch: BatchEnded) -> float | None:
        return batch.parts[index] if index < len(batch.parts) else None

    return Quantity(f"part/{name}", f"component {name} of the loss", "", read)


def rates(names: tuple[str, ...], count: int) -> list[Quantity]:
    """The learning rate of each parameter group."""
    return [_rate(i, names[i] if i < len(names) else f"group{i}") for i in range(count)]


def _rate(index: int, name: str) -> Quantity:
    def read(batch: BatchEnded) -> float | None:
        return batch.learning_rates[index] if index < len(batch.learning_rates) else None

    return Quantity(f"learning_rate/{name}", f"the learning rate of group {name}", "", read)


def finite(read: Read, batches: Iterable[BatchEnded]) -> list[float]:
    """The finite values of one number."""
    return [float(v) for batch in batches if (v := read(batch)) is not None and math.isfinite(v)]
