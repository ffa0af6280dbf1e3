"""Checkpoints that are damaged, and trainings that go on from one without all that belongs to it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from monitor.core.model import Verdict
from tests.bench.detection.families.data import resumed
from tests.bench.detection.fault import Before, Change, Fault, graded
from tests.bench.detection.kinds import Batch
from tests.bench.detection.streams import Step
from tests.bench.detection.trainer import Trainer


def found(verdict: Verdict, reason: str) -> Before:
    """A checkpoint is saved, and the verifier says this of it."""

    def before(trainer: Trainer, since: int) -> Iterable[Step]:
        if since == 0:
            yield from trainer.save(verdict, reason)

    return before


def without_state(height: float) -> Change:
    """The optimizer begins with empty moments: loss and norm jump, and come down again over a hundred batches."""

    def change(batch: Batch, since: int) -> None:
        above = height * math.exp(-since / 60.0)
        batch.loss *= 1.0 + above
        batch.parts = tuple(part * (1.0 + above) for part in batch.parts)
        if batch.norm is not None:
            batch.norm *= 1.0 + 3.0 * above

    return change


def _faults() -> Iterator[Fault]:
    truncated = found(Verdict.UNVERIFIED, "the file ends within its archive")
    yield Fault("checkpoint", "truncated file", "high", "1 batch", before=truncated)
    poisoned = found(Verdict.POISONED, "model.0.weight holds NaN")
    yield Fault("checkpoint", "poisoned file", "high", "1 batch", before=poisoned)
    for severity, height in graded(0.1, 0.5, 2.0):
        change = without_state(height)
        name = "resumed without optimizer state"
        yield Fault("checkpoint", name, severity, "for ever", change, before=resumed, tail=300)


FAULTS = tuple(_faults())
