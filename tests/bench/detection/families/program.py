"""Programs that do not do what they should: no gradient, no step, the wrong sign, gradients never cleared."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tests.bench.detection.families.data import moved
from tests.bench.detection.fault import Change, Fault, graded
from tests.bench.detection.kinds import Batch
from tests.bench.detection.streams import LASTS


def never_cleared(pace: float) -> Change:
    """zero_grad is missing: gradients add up, and the steps grow with them."""

    def change(batch: Batch, since: int) -> None:
        moved(math.exp(min(0.01 * pace * since, 5.0)), 1.0 + pace * (since + 1))(batch, since)

    return change


def faded(ratio: float) -> Change:
    """The gradient is `ratio` of what it was; the loss stays."""
    return moved(1.0, ratio)


def frozen(batch: Batch, since: int) -> None:
    """requires_grad is off everywhere: there is no gradient at all."""
    if batch.norm is not None:
        batch.norm = 0.0
    batch.update_ratio = batch.update_ratio and 0.0


def no_step(batch: Batch, since: int) -> None:
    """step() is never called: loss and gradient are as ever, the weights stand still."""
    batch.update_ratio = batch.update_ratio and 0.0


def wrong_sign(pace: float) -> Change:
    """The loss is maximized."""
    return lambda batch, since: moved(math.exp(min(pace * since, 6.0)), math.exp(min(0.5 * pace * since, 3.0)))(
        batch, since
    )


def collapsed(batch: Batch, since: int) -> None:
    """The loss falls to nothing with its gradient: there is nothing in the batch to learn from."""
    moved(1e-6, 1e-6)(batch, since)


def _faults() -> Iterator[Fault]:
    family = "program"
    for severity, pace in graded(0.1, 0.5, 1.0):
        yield Fault(family, "zero_grad missing", severity, "for ever", never_cleared(pace), tail=300)
    for severity, ratio in graded(0.1, 1e-3, 1e-6):
        for lasts in LASTS[1:]:
            yield Fault(family, f"gradient x{ratio:g}", severity, lasts, faded(ratio))
    for lasts in LASTS[1:]:
        yield Fault(family, "all frozen", "high", lasts, frozen)
    yield Fault(family, "step() never called", "low", "for ever", no_step, tail=600)
    for severity, pace in graded(0.002, 0.01, 0.05):
        yield Fault(family, "loss of the wrong sign", severity, "for ever", wrong_sign(pace), tail=400)
    yield Fault(family, "loss falls to nothing", "high", "for ever", collapsed)
    lost = moved(1.3, 1.5)
    yield Fault(family, "one rank without all-reduce", "medium", "for ever", lost, ranks=4, on_rank=2, tail=300)


FAULTS = tuple(_faults())
