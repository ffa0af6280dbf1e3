"""What a signal learns of its own samples."""

from __future__ import annotations

import math
import random

import pytest

from monitor.core.state.signals import _spread_of


@pytest.mark.parametrize("trend", [0.0, 0.05])
def test_the_spread_of_noise_is_its_mean_absolute_deviation_with_and_without_a_trend(trend: float) -> None:
    draw = random.Random(1)
    samples = [draw.gauss(0.0, 1.0) + trend * number for number in range(20_000)]
    assert _spread_of(samples) == pytest.approx(math.sqrt(2.0 / math.pi), abs=0.02)
