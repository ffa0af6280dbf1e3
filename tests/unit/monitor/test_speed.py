"""Slow batches, waiting for data, a late end, and no batch at all."""

from __future__ import annotations

import math
import random

import pytest

from monitor.core.detectors.hang import HangConfig
from monitor.core.policy.settings import Detectors, Policy
from tests.harness.streams import START_S, Stream, calm
from trainer_hooks.wire.messages import PhaseChanged


def timed(stream: Stream, batches: int, took_s: float, draw: random.Random, wait_s: float | None = None) -> None:
    for _ in range(batches):
        stream.batch(
            2.0 * math.exp(0.1 * draw.gauss(0, 1)),
            3.0,
            took_s=took_s * math.exp(0.05 * draw.gauss(0, 1)),
            wait_s=wait_s,
        )


def test_batches_that_all_take_half_as_long_again_are_a_warning_within_64() -> None:
    stream, draw = Stream(), random.Random(1)
    timed(stream, 3000, 0.2, draw)
    timed(stream, 64, 0.3, draw)
    (finding,) = stream.findings("step_time")
    assert finding.value == pytest.approx(0.29, rel=0.1)


@pytest.mark.parametrize("pattern", ["every tenth", "sorted within the epoch", "random lengths", "saves and pauses"])
def test_periodic_and_length_driven_slowness_is_silent(pattern: str) -> None:
    stream, draw = Stream(batches_per_epoch=500), random.Random(1)
    for at in range(8000):
        factor = {
            "every tenth": 5.0 if at % 10 == 0 else 1.0,
            "sorted within the epoch": 0.5 + 2.0 * (at % 500) / 500,
            "random lengths": math.exp(0.6 * draw.gauss(0, 1)),
            "saves and pauses": 60.0 if at % 500 == 0 else 1.0,
        }[pattern]
        timed(stream, 1, 0.2 * factor, draw)
    assert not stream.found


def test_the_first_batch_may_compile_for_minutes() -> None:
    stream, draw = Stream(), random.Random(1)
    timed(stream, 1, 300.0, draw)
    timed(stream, 3000, 0.2, draw)
    assert not stream.found


def test_an_input_bound_training_is_told_once_and_nobody_is_alerted() -> None:
    stream, draw = Stream(), random.Random(1)
    timed(stream, 1500, 0.2, draw, wait_s=0.15)
    assert stream.found == {"data_wait/info": 1}
    assert not stream.alerts


def test_a_training_that_ends_too_late_is_a_warning_and_one_that_is_in_time_is_none() -> None:
    draw = random.Random(1)
    late = Stream(epochs=10, deadline_s=START_S + 1000.0)
    timed(late, 600, 1.0, draw)
    assert late.found == {"deadline/warning": 1}
    assert "1.7" not in late.said[-1]
    in_time = Stream(epochs=10, deadline_s=START_S + 20_000.0)
    timed(in_time, 600, 1.0, draw)
    assert not in_time.found


def silent_for(stream: Stream, seconds: float) -> None:
    for _ in range(int(seconds)):
        stream.tick(1.0)


def test_silence_is_a_hang_after_thirty_seconds_or_five_intervals_and_is_told_once() -> None:
    stream, draw = Stream(), random.Random(1)
    stream.event(PhaseChanged(0.0, 1, "train"))
    timed(stream, 300, 0.2, draw)
    silent_for(stream, 29)
    assert not stream.found
    silent_for(stream, 200)
    assert stream.found == {"hang/warning": 1}
    assert [a.kind for a in stream.alerts] == ["watch"]


def test_slow_batches_may_take_five_times_their_longest() -> None:
    stream, draw = Stream(), random.Random(1)
    stream.event(PhaseChanged(0.0, 1, "train"))
    timed(stream, 20, 20.0, draw)
    silent_for(stream, 90)
    assert not stream.found
    silent_for(stream, 60)
    assert stream.found == {"hang/warning": 1}


def test_a_validation_takes_as_long_as_it_takes_and_the_next_is_held_against_it() -> None:
    stream, draw = Stream(), random.Random(1)
    stream.event(PhaseChanged(0.0, 1, "train"))
    timed(stream, 300, 0.2, draw)
    stream.event(PhaseChanged(0.0, 1, "validate"))
    silent_for(stream, 600)
    assert not stream.found
    stream.event(PhaseChanged(0.0, 1, "train"))
    timed(stream, 300, 0.2, draw)
    silent_for(stream, 40)
    assert stream.found == {"hang/warning": 1}  # the pause taught nothing about batches
    stream.event(PhaseChanged(0.0, 1, "validate"))
    silent_for(stream, 2900)
    assert stream.found == {"hang/warning": 1}


def test_a_daemon_that_slept_does_not_take_its_own_sleep_for_a_hang() -> None:
    stream, draw = Stream(), random.Random(1)
    stream.event(PhaseChanged(0.0, 1, "train"))
    timed(stream, 300, 0.2, draw)
    stream.tick(8 * 3600.0)
    timed(stream, 10, 0.2, draw)
    assert not stream.found


def test_a_hang_opens_an_incident_where_the_policy_says_so() -> None:
    stream, draw = Stream(policy=Policy(detectors=Detectors(hang=HangConfig(act=True)))), random.Random(1)
    stream.event(PhaseChanged(0.0, 1, "train"))
    calm(stream, 300, draw)
    silent_for(stream, 70)  # 30, and until nobody says where it stands
    assert [i.family for i in stream.run.incidents] == ["hang"]
