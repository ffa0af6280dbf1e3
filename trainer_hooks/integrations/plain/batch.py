"""One batch of a plain loop, from what the loop gives to the record of it. Keeps the totals of the training."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec
import torch

from trainer_hooks.restore import Reading
from trainer_hooks.tensors import Memory
from trainer_hooks.wire.messages import BatchEnded, Counts, Nonfinite, SkippedBy

Number: TypeAlias = torch.Tensor | float


@dataclass(frozen=True, slots=True)
class Given:
    """What the loop says of a batch; None: it says nothing."""

    loss: Number
    epoch: int  # from 1
    parts: tuple[Number, ...] = ()
    grad_norm: Number | None = None
    batch_size: int | None = None
    sequence_length: int | None = None
    image_size: int | None = None
    clip_norm: float | None = None
    accumulate: int | None = None
    data_wait_s: float | None = None


@dataclass(slots=True)
class PendingBatch:
    """What is known of a batch when it ends, and the scalars that still have to be read."""

    given: Given
    batch: int  # within the epoch, from 0
    batches_per_epoch: int
    used: tuple[Reading, ...]  # each parameter group as its step used it
    memory: Memory
    batch_s: float | None
    stepped: bool  # an optimizer step was taken
    wall_s: float = field(default_factory=time.time)
    sent_s: float = field(default_factory=time.monotonic)
    host: dict[str, float] = field(default_factory=dict)  # scalars that are known, by name
    names: list[str] = field(default_factory=list)  # of those that have to be read, in their order
    scalars: list[torch.Tensor] = field(default_factory=list)

    def gather(self, **values: Number | None) -> None:
        """Line up what still lies on a device, to travel together; what is on the host already is read at once."""
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.device.type != "cpu":
                self.names.append(name)
                self.scalars.append(value.detach().reshape(()))
            elif value is not None:
                self.host[name] = float(value.detach() if isinstance(value, torch.Tensor) else value)


class Counted:
    """Totals of one training, and the records they go into."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._scale: float | None = None  # after the batch before

    def record(self, draft: PendingBatch, values: list[float], hook_errors: int, dropped: int) -> BatchEnded:
        """The record of the batch whose scalars read `values`."""
        read = draft.host | dict(zip(draft.names, values, strict=True))
        loss, norm, scale, given = read["loss"], read.get("norm"), read.get("scale"), draft.given
        fell = scale is not None and self._scale is not None and scale < self._scale
        self._scale = scale if scale is not None else self._scale
        overflow = fell and math.isfinite(loss)  # the scaler looking for its range: normal
        bits = _bits(loss, None if overflow else norm)
        skipped = SkippedBy.SCALER if fell else SkippedBy.NOBODY
        self._count(draft.stepped or fell, bits, fell=fell, overflow=overflow)
        update = read.get("update")
        return BatchEnded(
            wall_s=draft.wall_s,
            sent_s=draft.sent_s,
            epoch=given.epoch,
            batch=draft.batch,
            batches_per_epoch=draft.batches_per_epoch,
            counts=msgspec.structs.replace(self.counts, hook_errors=hook_errors, records_dropped=dropped),
            loss=loss,
            parts=tuple(read[f"part{index}"] for index in range(len(given.parts))),
            grad_norm=norm,
            nonfinite=int(bits),
            skipped_by=skipped.value,
            learning_rates=tuple(reading.rate for reading in draft.used),
            momentum=draft.used[0].momentum,
            weight_decay=max(reading.weight_decay for reading in draft.used),
            clip_norm=given.clip_norm,
            loss_scale=scale,
            batch_size=given.batch_size,
            image_size=given.image_size,
            memory_allocated=draft.memory.allocated,
            memory_reserved=draft.memory.reserved,
            memory_peak=draft.memory.peak,
            alloc_retries=draft.memory.retries,
            batch_s=draft.batch_s,
            data_wait_s=given.data_wait_s,
            sequence_length=given.sequence_length,
            update_ratio=update if update is not None and math.isfinite(update) else None,
        )

    def _count(self, stepped: bool, bits: Nonfinite, *, fell: bool, overflow: bool) -> None:
        counts = self.counts
        self.counts = msgspec.structs.replace(
            counts,
            batches=counts.batches + 1,
            steps=counts.steps + stepped,
            nonfinite_batches=counts.nonfinite_batches + bool(bits),
            nonfinite_loss=counts.nonfinite_loss + (Nonfinite.LOSS in bits),
            nonfinite_gradient=counts.nonfinite_gradient + (Nonfinite.GRADIENT in bits),
            skipped_by_scaler=counts.skipped_by_scaler + fell,
            scaler_overflows=counts.scaler_overflows + overflow,
        )


def _bits(loss: float, norm: float | None) -> Nonfinite:
    bits = Nonfinite(0)
    if not math.isfinite(loss):
        bits |= Nonfinite.LOSS
    if norm is not None and not math.isfinite(norm):
        bits |= Nonfinite.GRADIENT
    return bits
