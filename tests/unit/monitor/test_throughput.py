"""Less is trained in the same time: found from a tenth upwards, and only where nothing of the training explains it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from monitor.core.detectors import load_all
from monitor.core.model import Severity
from tests.harness.simulation import Simulation

ONLY = {name: detector for name, detector in load_all().items() if name in ("throughput", "step_time", "data_wait")}


def timed(training: Simulation, batches: int, draw: random.Random, factor: Callable[[int], float], **more: Any) -> None:
    for at in range(batches):
        training.batch(2.0, 3.0, took_s=0.2 * factor(at) * math.exp(0.05 * draw.gauss(0, 1)), **more)


def steady(factor: float) -> Callable[[int], float]:
    return lambda at: factor


@pytest.mark.parametrize("slower", [1.1, 1.15, 1.2])
def test_a_loss_of_a_tenth_or_more_is_a_warning_within_400_batches(slower: float) -> None:
    training, draw = Simulation(detectors=ONLY, batches_per_epoch=500), random.Random(1)
    timed(training, 2000, draw, steady(1.0))
    timed(training, 400, draw, steady(slower))
    assert training.found == {"throughput/warning": 1}
    (finding,) = training.findings("throughput")
    assert finding.severity is Severity.WARNING
    assert finding.at.count - finding.since.count == 255
    assert finding.value == pytest.approx(0.2 * slower, rel=0.03)


def test_it_is_found_before_the_first_thousand_batches_are_over() -> None:
    training, draw = Simulation(detectors=ONLY, batches_per_epoch=200), random.Random(1)
    timed(training, 700, draw, steady(1.0))
    timed(training, 300, draw, steady(1.2))
    assert training.found == {"throughput/warning": 1}


def test_epochs_of_a_few_batches_hide_nothing() -> None:
    training, draw = Simulation(detectors=ONLY, batches_per_epoch=20), random.Random(1)
    timed(training, 2000, draw, steady(1.0))
    timed(training, 400, draw, steady(1.2))
    assert training.found == {"throughput/warning": 1}


def test_what_step_time_told_is_not_told_again() -> None:
    training, draw = Simulation(detectors=ONLY, batches_per_epoch=500), random.Random(1)
    timed(training, 3000, draw, steady(1.0))
    timed(training, 1000, draw, steady(1.6))
    assert training.found == {"step_time/warning": 1}


def test_a_slow_decline_is_a_note_by_whole_epochs() -> None:
    training, draw = Simulation(detectors=ONLY, batches_per_epoch=1000), random.Random(1)
    timed(training, 1000, draw, steady(1.0))
    timed(training, 20_000, draw, lambda at: 1.0 + 0.5 * at / 20_000)
    assert training.found == {"throughput/info": 1}
    assert "over 2 epochs" in training.findings("throughput")[0].summary


@pytest.mark.parametrize(
    "pattern",
    [
        "one stall in fifty", "every tenth is slow", "sorted within the epoch", "longest first within the epoch",
        "cold caches", "twelve in a row of saving", "a neighbour on the host",
    ],
)  # fmt: skip
def test_what_a_healthy_training_does_by_itself_is_silent(pattern: str) -> None:
    training, draw = Simulation(detectors=ONLY, batches_per_epoch=1000), random.Random(1)
    patterns: dict[str, Callable[[int], float]] = {
        "one stall in fifty": lambda at: 20.0 if draw.random() < 0.02 else 1.0,
        "every tenth is slow": lambda at: 5.0 if at % 10 == 0 else 1.0,
        "sorted within the epoch": lambda at: 0.5 + 1.5 * (at % 1000) / 1000,
        "longest first within the epoch": lambda at: 2.0 - 1.5 * (at % 1000) / 1000,
        "cold caches": lambda at: 1.0 + math.exp(-at / 300),
        "twelve in a row of saving": lambda at: 8.0 if at % 1000 < 12 else 1.0,
        "a neighbour on the host": lambda at: 1.0 + 0.03 * math.sin(at / 700),
    }
    timed(training, 9000, draw, patterns[pattern])
    assert not training.found


@pytest.mark.parametrize("what", ["sequence_length", "image_size", "instances"])
def test_slowness_that_the_batches_explain_is_silent_and_the_same_without_them_is_not(what: str) -> None:
    for told in (True, False):
        training, draw = Simulation(detectors=ONLY, batches_per_epoch=500), random.Random(1)
        for at in range(4000):
            size = 640 if at < 3000 else 768
            took = 0.2 * (size / 640) ** (1 if what == "instances" else 1.1)
            more: dict[str, Any] = {what: size} if told else {}
            training.batch(2.0, 3.0, took_s=took * math.exp(0.05 * draw.gauss(0, 1)), **more)
        assert bool(training.found) is not told, what


@pytest.mark.parametrize("told", [True, False])
def test_a_stretch_of_long_sequences_is_no_slowness_where_their_length_is_told(told: bool) -> None:
    training, draw = Simulation(detectors=ONLY, batches_per_epoch=500), random.Random(1)
    for at in range(4000):
        length = 768 if 3000 <= at < 3400 else 512
        more: dict[str, Any] = {"sequence_length": length} if told else {}
        training.batch(2.0, 3.0, took_s=0.2 * length / 512 * math.exp(0.05 * draw.gauss(0, 1)), **more)
    assert training.found == ({} if told else {"step_time/warning": 1})


def test_batches_of_another_size_are_learnt_anew() -> None:
    training, draw = Simulation(detectors=ONLY, batches_per_epoch=500), random.Random(1)
    timed(training, 3000, draw, steady(1.0))
    timed(training, 1500, draw, steady(1.2), batch_size=32)
    assert not training.found


@pytest.mark.parametrize("pattern", ["every tenth waits", "one in three waits", "waits at the start of each epoch"])
def test_waiting_now_and_then_is_not_input_bound(pattern: str) -> None:
    training, draw = Simulation(detectors=ONLY, batches_per_epoch=500), random.Random(1)
    for at in range(4000):
        waits = {
            "every tenth waits": at % 10 == 0,
            "one in three waits": at % 3 == 0,
            "waits at the start of each epoch": at % 500 < 20,
        }[pattern]
        wait_s = 0.5 if waits else 0.01
        training.batch(2.0, 3.0, took_s=(0.2 + wait_s) * math.exp(0.05 * draw.gauss(0, 1)), wait_s=wait_s)
    assert not training.found
