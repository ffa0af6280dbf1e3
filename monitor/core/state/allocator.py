"""What one rank's caching allocator reserves without use, and how often it retried. O(1) a batch. Pure."""

from __future__ import annotations

import msgspec

from trainer_hooks.wire.messages import BatchEnded

GAP_STRIDE = 8  # batches: the gap moves slowly
GAP_READINGS = 16  # a reading's weight in the mean gap falls to 1/e after this many
RETRIES_MAX = 64  # remembered; more within a window say nothing new


class Allocator(msgspec.Struct):
    """Bytes; batches by Counts.batches."""

    seen: int = 0
    reserved: float = 0.0  # last read
    peak: float = 0.0  # the most that was ever allocated at once; the trainer may reset its own peak
    gap: float = 0.0  # mean share of the reserved memory that no batch ever needed at once
    counted: int | None = None  # retries so far, by the allocator's own counter
    retries: list[int] = []  # where they were, oldest first and bounded


def take_allocator(allocator: Allocator, batch: BatchEnded) -> None:
    """Learn one batch. A reading that is left out changes nothing."""
    peak, retries = batch.memory_peak, batch.alloc_retries
    if peak is not None and peak > allocator.peak:
        allocator.peak = float(peak)
    if retries is not None and retries != allocator.counted:
        _take_retries(allocator, batch.counts.batches, retries)
    allocator.seen += 1
    if allocator.seen % GAP_STRIDE == 0 and batch.memory_reserved and peak is not None:
        allocator.reserved = float(batch.memory_reserved)
        gap = max(1.0 - allocator.peak / allocator.reserved, 0.0)
        allocator.gap += (gap - allocator.gap) / min(allocator.seen // GAP_STRIDE, GAP_READINGS)


def _take_retries(allocator: Allocator, count: int, retries: int) -> None:
    more = 0 if allocator.counted is None else retries - allocator.counted
    allocator.counted = retries
    if more > 0:
        allocator.retries.extend([count] * min(more, RETRIES_MAX))
        del allocator.retries[:-RETRIES_MAX]
