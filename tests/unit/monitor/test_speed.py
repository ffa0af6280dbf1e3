"""Slow batches, waiting for data, a late end, and no batch at all."""

from __future__ import annotations

import math
import random

import pytest

from tests.harness.simulated_run import START_S
from tests.harness.simulation import Simulation
from trainer_hooks.wire.messages import PhaseChanged


def timed(training: Simulation, batches: int, took_s: float, draw: random.Random, wait_s: float | None = None) -> None:
    for _ in range(batches):
        training.batch(
            2.0 * math.exp(0.1 * draw.gauss(0, 1)),
            3.0,
            took_s=took_s * math.exp(0.05 * draw.gauss(0, 1)),
            wait_s=wait_s,
        )


def test_batches_that_all_take_half_as_long_again_are_a_warning_within_64() -> None:
    training, draw = Simulation(), random.Random(1)
    timed(training, 3000, 0.2, draw)
    timed(training, 64, 0.3, draw)
    (finding,) = training.findings("step_time")
    assert finding.value == pytest.approx(0.29, rel=0.1)


@pytest.mark.parametrize("pattern", ["every tenth", "sorted within the epoch", "random lengths", "saves and pauses"])
def test_periodic_and_length_driven_slowness_is_silent(pattern: str) -> None:
    training, draw = Simulation(batches_per_epoch=500), random.Random(1)
    for at in range(8000):
        factor = {
            "every tenth": 5.0 if at % 10 == 0 else 1.0,
            "sorted within the epoch": 0.5 + 2.0 * (at % 500) / 500,
            "random lengths": math.exp(0.6 * draw.gauss(0, 1)),
            "saves and pauses": 60.0 if at % 500 == 0 else 1.0,
        }[pattern]
        timed(training, 1, 0.2 * factor, draw)
    assert not training.found


def test_the_first_batch_may_compile_for_minutes() -> None:
    training, draw = Simulation(), random.Random(1)
    timed(training, 1, 300.0, draw)
    timed(training, 3000, 0.2, draw)
    assert not training.found


def test_an_input_bound_training_is_told_once_and_nobody_is_alerted() -> None:
    training, draw = Simulation(), random.Random(1)
    timed(training, 1500, 0.2, draw, wait_s=0.15)
    assert training.found == {"data_wait/info": 1}
    assert not training.alerts


def test_a_training_that_ends_too_late_is_a_warning_and_one_that_is_in_time_is_none() -> None:
    draw = random.Random(1)
    late = Simulation(epochs=10, deadline_s=START_S + 1000.0)
    timed(late, 600, 1.0, draw)
    assert late.found == {"deadline/warning": 1}
    assert "1.7" not in late.messages[-1]
    in_time = Simulation(epochs=10, deadline_s=START_S + 20_000.0)
    timed(in_time, 600, 1.0, draw)
    assert not in_time.found


def silent_for(training: Simulation, seconds: float) -> None:
    for _ in range(int(seconds)):
        training.tick(1.0)


def test_silence_is_a_hang_after_thirty_seconds_or_five_intervals_and_is_told_once() -> None:
    training, draw = Simulation(), random.Random(1)
    training.send(PhaseChanged(0.0, 1, "train"))
    timed(training, 300, 0.2, draw)
    silent_for(training, 29)
    assert not training.found
    silent_for(training, 200)
    assert training.found == {"hang/warning": 1}
    assert [a.kind for a in training.alerts] == ["watch"]


def test_slow_batches_may_take_five_times_their_longest() -> None:
    training, draw = Simulation(), random.Random(1)
    training.send(PhaseChanged(0.0, 1, "train"))
    timed(training, 20, 20.0, draw)
    silent_for(training, 90)
    assert not training.found
    silent_for(training, 60)
    assert training.found == {"hang/warning": 1}


def test_a_validation_takes_as_long_as_it_takes_and_the_next_is_held_against_it() -> None:
    training, draw = Simulation(), random.Random(1)
    training.send(PhaseChanged(0.0, 1, "train"))
    timed(training, 300, 0.2, draw)
    training.send(PhaseChanged(0.0, 1, "validate"))
    silent_for(training, 600)
    assert not training.found
    training.send(PhaseChanged(0.0, 1, "train"))
    timed(training, 300, 0.2, draw)
    silent_for(training, 40)
    assert training.found == {"hang/warning": 1}  # the pause taught nothing about batches
    training.send(PhaseChanged(0.0, 1, "validate"))
    silent_for(training, 2900)
    assert training.found == {"hang/warning": 1}


def test_a_daemon_that_slept_does_not_take_its_own_sleep_for_a_hang() -> None:
    training, draw = Simulation(), random.Random(1)
    training.send(PhaseChanged(0.0, 1, "train"))
    timed(training, 300, 0.2, draw)
    training.tick(8 * 3600.0)
    timed(training, 10, 0.2, draw)
    assert not training.found
