"""Steps that change nothing, steps that change too much, and schedules that end at nothing."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from monitor.core.detectors import load_all
from tests.harness.streams import Stream

EVERY = 100
ONLY = {"update_ratio": load_all()["update_ratio"]}


def sampled(ratio: Callable[[int], float], rate: Callable[[int], float] = lambda at: 0.01, samples: int = 30) -> Stream:
    """One sample every hundred batches, with noise."""
    stream, draw = Stream(detectors=ONLY), random.Random(1)
    for at in range(samples):
        noise = math.exp(0.3 * draw.gauss(0, 1))
        stream.batch(2.0, 3.0, rate=rate(at), update_ratio=ratio(at) * noise, missed=EVERY - 1)
    return stream


@pytest.mark.parametrize(
    ("later", "sentence"),
    [
        (0.0, "hardly change the weights"),
        (1e-10, "hardly change the weights"),
        (0.5, "change the weights by far too much"),
        (1e-6, "times as much as before"),
        (0.09, None),
        (1e-4, None),
    ],
)
def test_three_samples_in_a_row_far_off_are_a_warning(later: float, sentence: str | None) -> None:
    stream = sampled(lambda at: 1e-3 if at < 20 else later)
    if sentence is None:
        assert not stream.found
        return
    assert stream.found == {"update_ratio/warning": 1}
    (finding,) = stream.findings("update_ratio")
    assert sentence in finding.summary
    assert (finding.at.count, finding.since.count) == (2300, 2100)


def test_one_step_that_was_skipped_is_no_finding() -> None:
    assert not sampled(lambda at: 0.0 if at % 5 == 4 else 1e-3).found


@pytest.mark.parametrize("schedule", ["warm-up", "cosine to nothing", "step by ten", "constant"])
def test_a_ratio_that_follows_the_learning_rate_is_silent(schedule: str) -> None:
    def rate(at: int) -> float:
        return {
            "warm-up": 0.01 * min(at / 25, 1.0),
            "cosine to nothing": 0.005 * (1.0 + math.cos(math.pi * at / 29)),
            "step by ten": 0.01 * 0.1 ** (at // 10),
            "constant": 0.01,
        }[schedule]

    assert not sampled(lambda at: 0.1 * rate(at), rate).found


def test_the_first_steps_of_weights_that_start_at_nothing_are_silent() -> None:
    assert not sampled(lambda at: 5.0 if at < 4 else 1e-3).found
