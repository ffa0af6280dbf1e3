"""Dating an onset back: how far, by which signal, and when not at all."""

from __future__ import annotations

import math
import random

from monitor.core.diagnosis.onset import first_lasting, lead, reference
from monitor.core.diagnosis.signal_samples import LOSS, NORM
from trainer_hooks.wire.messages import BatchEnded, Counts

DRAW = random.Random(3)


def batches(losses: list[float], norms: list[float | None]) -> list[BatchEnded]:
    return [
        BatchEnded(0.0, 0.0, 1, i, 1000, Counts(batches=i + 1), loss=loss, grad_norm=norm)
        for i, (loss, norm) in enumerate(zip(losses, norms, strict=True))
    ]


def calm(count: int, level: float, noise: float) -> list[float]:
    return [level * math.exp(noise * DRAW.gauss(0, 1)) for _ in range(count)]


def test_a_norm_that_rises_three_batches_before_the_loss_dates_the_onset() -> None:
    norms = [*calm(200, 3.0, 0.3), 60.0, 200.0, 900.0]
    told = batches(calm(203, 2.0, 0.05), list(norms))
    found = lead(told, 204, reference(told, [NORM, LOSS]))
    assert found is not None
    assert found.quantity is NORM
    assert found.earlier == 3
    assert found.batch.batch == 200


def test_an_outlier_long_before_does_not_move_the_onset() -> None:
    norms = calm(200, 3.0, 0.3)
    norms[180] = 500.0
    told = batches(calm(200, 2.0, 0.05), list(norms))
    assert lead(told, 201, reference(told, [NORM, LOSS])) is None


def test_a_norm_told_on_one_batch_in_four_still_dates_it() -> None:
    norms: list[float | None] = [n if i % 4 == 3 else None for i, n in enumerate(calm(200, 3.0, 0.3))]
    norms[195], norms[199] = 300.0, 900.0
    told = batches(calm(200, 2.0, 0.05), norms)
    found = lead(told, 201, reference(told, [NORM, LOSS]))
    assert found is not None
    assert found.batch.batch == 195


def test_too_few_batches_before_say_nothing_of_what_is_usual() -> None:
    told = batches(calm(40, 2.0, 0.05), list(calm(40, 3.0, 0.3)))
    assert reference(told, [NORM, LOSS]).levels == {}
    assert lead(told, 41, reference(told, [NORM, LOSS])) is None


def test_a_single_outlier_is_no_lasting_rise() -> None:
    losses = [*calm(100, 2.0, 0.05), 9.0, *calm(20, 2.0, 0.05), 6.0, 6.5, 7.0, 7.5]
    told = batches(losses, [None] * len(losses))
    found = first_lasting(told[100:], reference(told[:100], [LOSS]))
    assert found is not None
    assert found.batch == 121
