"""The rule for slow rises that is no detector: what it can do, and why it was left out."""

from __future__ import annotations

import math
import random

from tests.bench.detection.left_out import first_row, wandering


def falling(rows: int, noise: float = 0.03) -> list[float]:
    draw = random.Random(2)
    return [(1.0 + 2.0 * math.exp(-at / 60)) * math.exp(noise * draw.gauss(0, 1)) for at in range(rows)]


def test_it_finds_a_slow_rise_of_a_loss_that_was_level_for_long() -> None:
    losses = falling(3000)
    assert first_row(losses) is None
    risen = [loss * 2.0 ** (max(at - 2000, 0) / 400) for at, loss in enumerate(losses)]
    row = first_row(risen)
    assert row is not None
    assert 2100 < row < 2400


def test_it_warns_of_a_healthy_loss_that_wanders() -> None:
    assert first_row(next(wandering())) is not None
