"""Batches that hold what they should not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.bench.detection.fault import Change, Fault, graded
from tests.bench.detection.kinds import Batch
from tests.bench.detection.streams import LASTS, Step
from tests.bench.detection.trainer import Trainer

REPEATED = 150  # batches that are seen twice


def moved(loss: float, norm: float) -> Change:
    """Loss and norm as so many times what they would be."""

    def change(batch: Batch, since: int) -> None:
        batch.loss *= loss
        batch.parts = tuple(part * loss for part in batch.parts)
        if batch.norm is not None:
            batch.norm *= norm

    return change


def resumed(trainer: Trainer, since: int) -> Iterable[Step]:
    """The training goes on from a checkpoint, without any change but this."""
    if since == 0:
        yield from trainer.begin()


def seen_before(drop: float) -> Change:
    """After a resume the loader begins again: known batches give a lower loss, then new ones what it was."""
    known = moved(1.0 - drop, 1.0 - drop)

    def change(batch: Batch, since: int) -> None:
        if since < REPEATED:
            known(batch, since)

    return change


def _faults() -> Iterator[Fault]:
    for lasts in LASTS:
        for severity, share, loss, norm in (
            ("low", "1 %", 1.03, 1.05),
            ("medium", "10 %", 1.25, 1.3),
            ("high", "100 %", 2.5, 2.0),
        ):
            yield Fault("data", f"{share} of the labels wrong", severity, lasts, moved(loss, norm), tail=300)
    for severity, loss in graded(1.5, 3.0, 10.0):
        yield Fault("data", "corrupt batch", severity, "1 batch", moved(loss, 2.0 * loss))
    for severity, norm in graded(5.0, 20.0, 100.0):
        yield Fault("data", "repeated n-grams", severity, "1 batch", moved(0.5, norm))
    for severity, drop in graded(0.02, 0.05, 0.15):
        change = seen_before(drop)
        yield Fault("data", "repeated after a resume", severity, "for ever", change, before=resumed, tail=400)


FAULTS = tuple(_faults())
