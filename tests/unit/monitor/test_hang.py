"""What is a hang, and what only looks like one: phases, starts, ends of epochs, relaunches, ranks."""

from __future__ import annotations

import random

import pytest

from monitor.core.detectors.hang import HangConfig
from monitor.core.model import GenerationExited, GenerationStarted
from tests.harness.simulation import Simulation
from trainer_hooks.wire.messages import EpochEnded, PhaseChanged
from trainer_hooks.wire.run_documents import Exit

UNKNOWN_S = int(HangConfig().unknown_s)


def train(training: Simulation, batches: int, ranks: tuple[int, ...] = (0,), took_s: float = 0.2) -> None:
    draw = random.Random(1)
    for number in range(batches):
        for rank in ranks:
            training.batch(draw.uniform(0.9, 1.1), 1.0, took_s=took_s, rank=rank)
        if number % 5 == 0:
            training.tick(0.0)


def silent(training: Simulation, seconds: int) -> None:
    for _ in range(seconds):
        training.tick(1.0)


def test_a_trainer_that_declares_no_phases_hangs_like_any_other() -> None:
    training = Simulation()
    train(training, 300)
    silent(training, 29)
    assert not training.found
    silent(training, 3)
    assert training.found == {"hang/warning": 1}


def test_a_trainer_that_declares_no_phases_may_validate_between_its_epochs() -> None:
    """The first such pause is not known; the next ones are held against it."""
    training = Simulation(batches_per_epoch=100)
    for _ in range(3):
        train(training, 100)
        silent(training, 100)
    assert not training.found
    train(training, 100)
    silent(training, 600)
    assert training.found == {"hang/warning": 1}


def test_a_first_batch_that_compiles_is_no_hang_and_one_that_never_ends_is() -> None:
    training = Simulation()
    training.send(PhaseChanged(0.0, 1, "train"))
    silent(training, 300)
    assert not training.found
    silent(training, UNKNOWN_S)
    assert training.found == {"hang/warning": 1}


def test_a_script_that_prepares_for_hours_before_it_trains_is_no_hang() -> None:
    training = Simulation()
    training.feed(GenerationStarted("night", 2, "nonce", 2, 0))
    silent(training, 4 * 3600)
    assert not training.found


def test_a_relaunch_takes_as_long_as_the_first_start_did() -> None:
    training = Simulation()
    training.send(PhaseChanged(0.0, 1, "train"))
    silent(training, 20)
    train(training, 300)
    training.restart()
    silent(training, 40)
    training.send(PhaseChanged(0.0, 1, "train"))
    silent(training, 50)
    train(training, 5)
    assert not training.found
    silent(training, 40)
    assert training.found == {"hang/warning": 1}


def test_loaders_that_start_anew_after_each_validation_are_no_hang() -> None:
    training = Simulation()
    for _ in range(4):
        training.send(PhaseChanged(0.0, 1, "train"))
        silent(training, 45)
        train(training, 200)
        training.send(PhaseChanged(0.0, 1, "validate"))
        silent(training, 100)
    assert not training.found


def test_a_save_may_take_its_time_and_the_next_one_five_times_as_long() -> None:
    training = Simulation()
    training.send(PhaseChanged(0.0, 1, "train"))
    train(training, 200)
    for seconds in (60, 250):
        training.send(PhaseChanged(0.0, 1, "save"))
        silent(training, seconds)
        training.send(EpochEnded(0.0, 1, 60.0, (), {}, None))
        training.send(PhaseChanged(0.0, 1, "train"))
        train(training, 200)
    assert not training.found


def test_the_phase_of_another_rank_is_not_taken_for_that_of_the_job() -> None:
    training = Simulation()
    training.send(PhaseChanged(0.0, 1, "train"))
    train(training, 300, ranks=(0, 1))
    training.send(PhaseChanged(0.0, 1, "validate"), rank=1)
    assert training.run.training.phase == "train"
    silent(training, 35)
    assert training.found == {"hang/warning": 1}


def test_a_rank_that_stands_still_while_rank_0_goes_on_is_named() -> None:
    training = Simulation()
    training.send(PhaseChanged(0.0, 1, "train"))
    train(training, 300, ranks=(0, 1, 2))
    for _ in range(40):
        train(training, 5, ranks=(0, 2))
        training.tick(0.0)
    [finding] = training.findings("hang")
    assert finding.rank == 1
    assert "nothing from rank 1" in finding.summary


def test_where_batches_are_long_a_rank_may_be_silent_for_several_of_them() -> None:
    training = Simulation()
    training.send(PhaseChanged(0.0, 1, "train"))
    train(training, 100, ranks=(0, 1), took_s=10.0)
    for _ in range(40):
        train(training, 5, ranks=(0,), took_s=10.0)
        training.tick(0.0)
    [finding] = training.findings("hang")
    assert finding.limit == pytest.approx(HangConfig().intervals * 10.0)


def test_a_rank_that_is_a_few_batches_behind_is_no_hang() -> None:
    training = Simulation()
    training.send(PhaseChanged(0.0, 1, "train"))
    train(training, 300, ranks=(0, 1))
    train(training, 5)
    train(training, 300, ranks=(0, 1))
    assert not training.found


def test_what_a_standstill_cost_counts_from_its_last_batch_whether_it_ends_by_itself_or_with_its_process() -> None:
    training = Simulation()
    train(training, 300)
    silent(training, 100)
    train(training, 300)
    assert training.found == {"hang/warning": 1}
    assert training.run.downtime_s == pytest.approx(100.2)
    silent(training, 600)
    training.feed(GenerationExited("night", Exit(number=1, code=None, signal=9, ended_s=training.now_s), relaunch=True))
    training.tick(20.0)
    training.restart()
    train(training, 5)
    assert training.run.downtime_s == pytest.approx(100.2 + 620.2)


def test_a_silence_that_is_no_hang_costs_nothing() -> None:
    training = Simulation()
    train(training, 300)
    silent(training, 20)
    train(training, 300)
    silent(training, 20)
    training.feed(GenerationExited("night", Exit(number=1, code=1, signal=None, ended_s=training.now_s), relaunch=True))
    training.tick(5.0)
    training.restart()
    train(training, 5)
    assert training.run.downtime_s == pytest.approx(5.2)
