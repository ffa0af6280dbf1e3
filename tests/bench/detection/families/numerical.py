"""Values that are no numbers any more, and the scale of float16 that falls to avoid them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

from tests.bench.detection.fault import Change, Fault
from tests.bench.detection.kinds import YOLO, Batch
from tests.bench.detection.streams import LASTS, Trait
from trainer_hooks.wire.messages import Nonfinite

RARE = 100  # one batch in so many: 0.97 % of the batches of the night this project is named for
SCALE_FLOOR = 2.0**-14


def nan_loss(batch: Batch, since: int) -> None:
    """The loss is NaN, and with it every gradient."""
    batch.loss = batch.norm = math.nan
    batch.parts = tuple(math.nan for _ in batch.parts)


def infinite(batch: Batch, since: int) -> None:
    """An activation overflows: the loss is infinite, the gradient NaN."""
    batch.loss, batch.norm = math.inf, math.nan
    batch.parts = tuple(math.inf for _ in batch.parts)


def nan_gradient(batch: Batch, since: int) -> None:
    """One element of the gradient is NaN; the loss is as ever."""
    batch.norm = math.nan


def nan_component(batch: Batch, since: int) -> None:
    """Only the second component of the loss is NaN, and with it the sum."""
    parts = list(batch.parts)
    parts[1] = math.nan
    batch.parts, batch.loss, batch.norm = tuple(parts), math.nan, math.nan


def nan_now_and_then(batch: Batch, since: int) -> None:
    """One batch in a hundred is NaN."""
    if since % RARE == 0:
        nan_loss(batch, since)


def weights_poisoned(batch: Batch, since: int) -> None:
    """Nobody skipped the step: the weights are NaN from here on."""
    nan_loss(batch, since)
    batch.damage, batch.guarded = Nonfinite.PARAMETER, False


def statistics_poisoned(batch: Batch, since: int) -> None:
    """BatchNorm's running statistics are NaN; the loss of the training looks perfect."""
    batch.damage, batch.guarded = Nonfinite.BUFFER, False


def halving(times: int) -> Change:
    """The scaler overflows on one batch after the other, and halves its scale each time."""

    def change(batch: Batch, since: int) -> None:
        if since < times:
            batch.overflow, batch.norm = True, math.inf
        batch.scale = max(65536.0 / 2.0 ** min(since + 1, times), SCALE_FLOOR)

    return change


def nan_loss_alone(batch: Batch, since: int) -> None:
    """The loss is NaN, and no gradient is taken from it."""
    batch.loss = math.nan


def _faults() -> Iterator[Fault]:
    for name, change, severity in (
        ("NaN in the loss", nan_loss, "high"),
        ("infinite activation", infinite, "high"),
        ("NaN in one gradient element", nan_gradient, "low"),
    ):
        yield from (Fault("numerical", name, severity, lasts, change) for lasts in LASTS)
    yield from (Fault("numerical", "NaN in one component", "medium", t, nan_component, kinds=(YOLO,)) for t in LASTS)
    yield Fault(
        "numerical", "NaN in 1 % of batches", "medium", "for ever", nan_now_and_then, tail=600,
        traits=frozenset({Trait.RARE}),
    )  # fmt: skip
    yield Fault("numerical", "weights poisoned", "high", "for ever", weights_poisoned)
    yield Fault("numerical", "BatchNorm statistics poisoned", "high", "for ever", statistics_poisoned)
    for rank, lasts in product((0, 2), LASTS):
        shared = f"NaN in the loss of rank {rank} of 4, gradients shared"
        yield Fault("numerical", shared, "medium", lasts, nan_loss, ranks=4, on_rank=rank, others=nan_gradient)
    alone = "NaN in the loss of rank 2 of 4, no gradient from it"
    yield from (Fault("numerical", alone, "low", lasts, nan_loss_alone, ranks=4, on_rank=2) for lasts in LASTS)
    finite = frozenset({Trait.FINITE})
    for severity, times in (("low", 3), ("medium", 6), ("high", 30)):
        name = "loss scale halves to its floor" if times == 30 else f"loss scale halves {times} times"
        yield Fault("numerical", name, severity, "for ever", halving(times), kinds=(YOLO,), traits=finite)


FAULTS = tuple(_faults())
