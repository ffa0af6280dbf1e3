"""Batches that take longer. In a distributed training all ranks wait for the slow one: their times are the same."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.detection.fault import Change, Fault, graded
from tests.bench.detection.kinds import LANGUAGE, REMEMBERING, SMALL, YOLO, Batch
from tests.bench.detection.streams import LASTS

CALM = 2600  # blocks of 64 batches over more than two epochs are known by then
TAIL = 300
LOADER_WAITS = 0.9  # share of a stalled batch that is spent waiting


def slower(share: float) -> Change:
    """Batches compute longer by `share`."""

    def change(batch: Batch, since: int) -> None:
        batch.took_s *= 1.0 + share

    return change


def starved(share: float) -> Change:
    """The loader can't keep up: `share` of every batch is spent waiting for it."""

    def change(batch: Batch, since: int) -> None:
        compute_s = batch.took_s - (batch.wait_s or 0.0)
        batch.took_s = compute_s / (1.0 - share)
        batch.wait_s = batch.took_s - compute_s

    return change


def stalled(seconds: float) -> Change:
    """The loader gives nothing for so long."""

    def change(batch: Batch, since: int) -> None:
        batch.took_s += seconds
        batch.wait_s = (batch.wait_s or 0.0) + seconds

    return change


def _faults() -> Iterator[Fault]:
    kinds = (YOLO, LANGUAGE, REMEMBERING, SMALL)
    for severity, share in (("low", 0.05), ("low", 0.1), ("medium", 0.25), ("high", 1.0)):
        for lasts in LASTS[1:]:
            for ranks, where in ((1, "every rank"), (4, "one of 4 ranks, all wait")):
                name, change = f"{where}: +{share:.0%}", slower(share)
                yield Fault(
                    "throughput", name, severity, lasts, change, calm=CALM, tail=TAIL, ranks=ranks, kinds=kinds[:2]
                )
    for severity, share in graded(0.3, 0.6, 0.9):
        name = f"the loader takes {share:.0%} of every batch"
        yield Fault("throughput", name, severity, "for ever", starved(share), calm=CALM, tail=TAIL, kinds=kinds)
    for severity, seconds in graded(5.0, 12.0, 25.0):
        name = f"loader stalls for {seconds:g} s"
        yield Fault("throughput", name, severity, "1 batch", stalled(seconds), calm=CALM, kinds=kinds)


FAULTS = tuple(_faults())
