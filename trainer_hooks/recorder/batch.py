"""One batch between its end and its record: what is known on the host, what has still to be read, what it showed.

Structs of msgspec, since several are made in each batch and a dataclass takes five times as long to make.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec
import torch

from trainer_hooks.guard import Examination, StepReport
from trainer_hooks.parameter_groups import Reading
from trainer_hooks.tensors import Memory
from trainer_hooks.wire.messages import BatchEnded, Counts, Nonfinite, NonfiniteSeen

Number: TypeAlias = torch.Tensor | float
NOTHING = Nonfinite(0)
SAMPLES_CHARS_MAX = 64 * 1024  # of the names in one event: where it is too long its texts are cut, and names look alike


class BatchContents(msgspec.Struct):
    """What the batch held. None: not known."""

    size: int | None = None
    image_sides: Sequence[int] = ()  # pixels; what stands before the last two is something else
    sequence_length: int | None = None  # tokens, the longest
    counted: int | None = None  # instances, where `owners` does not say
    owners: torch.Tensor | None = None  # which image each instance is in, on the host
    name_samples: Callable[[], tuple[str, ...]] | None = None
    samples_partial: bool = False  # the names cover only part of what is in the batch

    @property
    def samples(self) -> tuple[str, ...]:
        """The names of what is in it, made when they are asked for."""
        return self.name_samples() if self.name_samples is not None else ()

    @property
    def image_size(self) -> int | None:
        """Pixels, the longer side."""
        return max(self.image_sides[-2:], default=None)

    @property
    def instances(self) -> int | None:
        """In all images together."""
        return self.counted if self.owners is None else self.owners.shape[0]

    @property
    def instances_max(self) -> int | None:
        """The most of any one image. Counted when it is asked for, which is not on the training's thread."""
        if self.owners is None:
            return None
        return max(Counter(self.owners.flatten().tolist()).values(), default=0)


class PendingBatch(msgspec.Struct):
    """What is known of a batch on the host when it ends, and the scalars that still have to be read."""

    wall_s: float
    sent_s: float
    epoch: int  # from 1
    batch: int
    batches_per_epoch: int
    contents: BatchContents
    report: StepReport
    used: tuple[Reading, ...]  # each group as its step used it
    clip_norm: float | None  # of the last step; None: nothing was clipped yet
    memory: Memory
    batch_s: float | None
    data_wait_s: float | None
    scalars: Sequence[Number]  # loss, parts, then as the flags say, then the report's measures
    parts_count: int
    ramp: float | None = None
    onset_samples_left: int | None = None
    reads_norm: bool = False
    reads_scale: bool = False
    reads_update: bool = False
    loss_known: bool = True  # False: the loop gave none, and what stands for it is not recorded


class BatchAssessment(msgspec.Struct):
    """What the scalars of a batch turned out to say."""

    loss: float
    parts: tuple[float, ...]
    norm: float | None
    scale: float | None = None
    update: float | None = None  # |change| / |weights| of the step; None: not sampled, or not taken
    bits: Nonfinite = NOTHING
    cured: bool = False
    examination: Examination | None = None  # None: there was no reason to look
    measures: tuple[float, ...] = ()  # what the guard asked for beside the batch's own scalars

    @property
    def first_bad(self) -> str:
        """The first tensor found non-finite; empty: none, or nobody looked."""
        return self.examination.first_bad if self.examination else ""


def read_more(assessed: BatchAssessment, pending: PendingBatch, values: list[float]) -> None:
    """Put the values that were lined up behind the loss and its parts under their names."""
    rest = iter(values)
    if pending.reads_norm:
        assessed.norm = next(rest)
    if pending.reads_scale:
        assessed.scale = next(rest)
    if pending.reads_update:
        assessed.update = next(rest)
    assessed.measures = tuple(rest)


def batch_ended(pending: PendingBatch, assessed: BatchAssessment, counts: Counts) -> BatchEnded:
    """The record of a batch; `counts` after it."""
    contents, memory = pending.contents, pending.memory
    return BatchEnded(
        wall_s=pending.wall_s,
        sent_s=pending.sent_s,
        epoch=pending.epoch,
        batch=pending.batch,
        batches_per_epoch=pending.batches_per_epoch,
        counts=counts,
        loss=assessed.loss if pending.loss_known else None,
        parts=assessed.parts,
        grad_norm=assessed.norm,
        nonfinite=int(assessed.bits),
        skipped_by=pending.report.skipped_by.value,
        cured=assessed.cured,
        learning_rates=tuple(reading.rate for reading in pending.used),
        momentum=pending.used[0].momentum if pending.used else None,
        weight_decay=max((reading.weight_decay for reading in pending.used), default=None),
        clip_norm=pending.clip_norm,
        loss_scale=assessed.scale,
        batch_size=contents.size,
        image_size=contents.image_size,
        instances=contents.instances,
        instances_max=contents.instances_max,
        memory_allocated=memory.allocated,
        memory_reserved=memory.reserved,
        memory_peak=memory.peak,
        alloc_retries=memory.retries,
        batch_s=pending.batch_s,
        data_wait_s=pending.data_wait_s,
        ramp=pending.ramp,
        onset_samples_left=pending.onset_samples_left,
        sequence_length=contents.sequence_length,
        update_ratio=assessed.update,
    )


def _gradient(name: str) -> str:
    return f"the gradient of {name}" if name else ""


def evidence_of(pending: PendingBatch, assessed: BatchAssessment) -> NonfiniteSeen:
    """What is known of a bad batch, with as many of its samples' names as an event may hold."""
    contents = pending.contents
    every = contents.samples
    samples = _within(every, SAMPLES_CHARS_MAX)
    return NonfiniteSeen(
        wall_s=pending.wall_s,
        epoch=pending.epoch,
        batch=pending.batch,
        nonfinite=int(assessed.bits),
        loss=assessed.loss,
        parts=assessed.parts,
        grad_norm=assessed.norm,
        cured=assessed.cured,
        samples=samples,
        samples_partial=contents.samples_partial or len(samples) < len(every),
        first_bad=pending.report.bad_buffer or assessed.first_bad or _gradient(pending.report.bad_gradient),
    )


def _within(names: tuple[str, ...], chars: int) -> tuple[str, ...]:
    """The first names whose texts together have no more characters than this."""
    if sum(map(len, names)) <= chars:
        return names
    kept = []
    for name in names:
        chars -= len(name)
        if chars < 0:
            break
        kept.append(name)
    return tuple(kept)
