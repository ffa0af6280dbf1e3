"""GPU memory that grows: bit by bit, or at once."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.detection.fault import Change, Fault, graded
from tests.bench.detection.kinds import GIB, LANGUAGE, LENGTHS, REMEMBERING, RESERVED, SMALL, YOLO, Batch
from tests.bench.detection.streams import LASTS, Trait

CAPACITY = 24 * GIB
LEAK_TAIL = 3500  # a leak needs time to be one
BLOCK = 2 << 20  # the allocator's own steps


def leak(share: float) -> Change:
    """Memory grows by `share` of the device's capacity every 100 batches."""

    def change(batch: Batch, since: int) -> None:
        grown = int(CAPACITY * share * (since + 1) / 100.0)
        batch.allocated += grown
        batch.reserved = max(batch.reserved, (batch.allocated // BLOCK + 1) * BLOCK)

    return change


def step(ratio: float) -> Change:
    """Memory stands `ratio` above what it was."""

    def change(batch: Batch, since: int) -> None:
        batch.allocated += int(RESERVED * ratio)
        batch.reserved += int(RESERVED * ratio)

    return change


def _faults() -> Iterator[Fault]:
    at_once = frozenset({Trait.MEMORY_STEP})
    kinds = (YOLO, LANGUAGE, REMEMBERING, SMALL, LENGTHS)
    for severity, share in graded(1e-4, 1e-3, 1e-2):
        name = f"leak, {share:.2%} of the capacity every 100 batches"
        yield Fault("memory", name, severity, "for ever", leak(share), tail=LEAK_TAIL, kinds=kinds, repeats_max=1)
    for severity, ratio in graded(0.02, 0.1, 0.3):
        for lasts in LASTS[1:]:
            name = f"step of +{ratio:.0%}"
            yield Fault("memory", name, severity, lasts, step(ratio), kinds=kinds, traits=at_once)


FAULTS = tuple(_faults())
