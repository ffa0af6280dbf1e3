"""The first batch that is not finite is told at once, and only the first."""

from __future__ import annotations

import math
import random

from monitor.core.model import Severity
from tests.harness.simulation import Simulation, calm


def test_one_that_the_guard_put_right_wakes_nobody() -> None:
    training, draw = Simulation(), random.Random(1)
    calm(training, 10, draw)
    training.batch(math.nan, 3.0)
    assert training.found == {"nonfinite_batch/info": 1}
    assert not training.alerts


def test_the_first_that_nothing_put_right_is_a_warning_at_that_batch_and_opens_no_incident() -> None:
    training, draw = Simulation(), random.Random(1)
    calm(training, 10, draw)
    training.batch(math.nan, 3.0, cured=False)
    (finding,) = training.findings("nonfinite_batch")
    assert (finding.severity, finding.at.count, finding.since.count) == (Severity.WARNING, 11, 11)
    assert "loss not finite for the first time" in finding.summary
    assert [alert.kind for alert in training.alerts] == ["watch"]
    assert not training.run.training.ledger.incidents


def test_those_that_follow_are_left_to_the_rules_of_burst_and_rate() -> None:
    training, draw = Simulation(), random.Random(1)
    for _ in range(3):
        training.batch(math.nan, 3.0)
        calm(training, 2000, draw)
    assert training.found == {"nonfinite_batch/info": 1}


def test_a_new_generation_is_told_of_again() -> None:
    training, draw = Simulation(), random.Random(1)
    for _ in range(2):
        calm(training, 100, draw)
        training.batch(math.nan, 3.0)
        training.restart()
    assert training.found == {"nonfinite_batch/info": 2}


def test_the_overflow_of_a_scaler_is_none() -> None:
    training, draw = Simulation(), random.Random(1)
    calm(training, 300, draw, scale=65536.0)
    training.batch(2.0, math.inf, overflow=True, scale=32768.0)
    assert not training.found
