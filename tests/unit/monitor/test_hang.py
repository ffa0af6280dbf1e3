"""What is a hang, and what only looks like one: phases, starts, ends of epochs, relaunches, ranks."""

from __future__ import annotations

import random

from monitor.core.detectors.hang import HangConfig
from monitor.core.model import GenerationStarted
from tests.harness.streams import Stream
from trainer_hooks.wire.messages import EpochEnded, PhaseChanged

UNKNOWN_S = int(HangConfig().unknown_s)


def train(stream: Stream, batches: int, ranks: tuple[int, ...] = (0,), took_s: float = 0.2) -> None:
    draw = random.Random(1)
    for number in range(batches):
        for rank in ranks:
            stream.batch(draw.uniform(0.9, 1.1), 1.0, took_s=took_s, rank=rank)
        if number % 5 == 0:
            stream.tick(0.0)


def silent(stream: Stream, seconds: int) -> None:
    for _ in range(seconds):
        stream.tick(1.0)


def test_a_trainer_that_declares_no_phases_hangs_like_any_other() -> None:
    stream = Stream()
    train(stream, 300)
    silent(stream, 29)
    assert not stream.found
    silent(stream, 3)
    assert stream.found == {"hang/warning": 1}


def test_a_trainer_that_declares_no_phases_may_validate_between_its_epochs() -> None:
    """The first such pause is not known; the next ones are held against it."""
    stream = Stream(batches_per_epoch=100)
    for _ in range(3):
        train(stream, 100)
        silent(stream, 100)
    assert not stream.found
    train(stream, 100)
    silent(stream, 600)
    assert stream.found == {"hang/warning": 1}


def test_a_first_batch_that_compiles_is_no_hang_and_one_that_never_ends_is() -> None:
    stream = Stream()
    stream.event(PhaseChanged(0.0, 1, "train"))
    silent(stream, 300)
    assert not stream.found
    silent(stream, UNKNOWN_S)
    assert stream.found == {"hang/warning": 1}


def test_a_script_that_prepares_for_hours_before_it_trains_is_no_hang() -> None:
    stream = Stream()
    stream.put(GenerationStarted("s", 2, "nonce", 2, 0))
    silent(stream, 4 * 3600)
    assert not stream.found


def test_a_relaunch_takes_as_long_as_the_first_start_did() -> None:
    stream = Stream()
    stream.event(PhaseChanged(0.0, 1, "train"))
    silent(stream, 20)
    train(stream, 300)
    stream.restart()
    silent(stream, 40)
    stream.event(PhaseChanged(0.0, 1, "train"))
    silent(stream, 50)
    train(stream, 5)
    assert not stream.found
    silent(stream, 40)
    assert stream.found == {"hang/warning": 1}


def test_loaders_that_start_anew_after_each_validation_are_no_hang() -> None:
    stream = Stream()
    for _ in range(4):
        stream.event(PhaseChanged(0.0, 1, "train"))
        silent(stream, 45)
        train(stream, 200)
        stream.event(PhaseChanged(0.0, 1, "validate"))
        silent(stream, 100)
    assert not stream.found


def test_a_save_may_take_its_time_and_the_next_one_five_times_as_long() -> None:
    stream = Stream()
    stream.event(PhaseChanged(0.0, 1, "train"))
    train(stream, 200)
    for seconds in (60, 250):
        stream.event(PhaseChanged(0.0, 1, "save"))
        silent(stream, seconds)
        stream.event(EpochEnded(0.0, 1, 60.0, (), {}, None))
        stream.event(PhaseChanged(0.0, 1, "train"))
        train(stream, 200)
    assert not stream.found


def test_the_phase_of_another_rank_is_not_taken_for_that_of_the_job() -> None:
    stream = Stream()
    stream.event(PhaseChanged(0.0, 1, "train"))
    train(stream, 300, ranks=(0, 1))
    stream.event(PhaseChanged(0.0, 1, "validate"), rank=1)
    assert stream.run.phase == "train"
    silent(stream, 35)
    assert stream.found == {"hang/warning": 1}


def test_a_rank_that_stands_still_while_rank_0_goes_on_is_named() -> None:
    stream = Stream()
    stream.event(PhaseChanged(0.0, 1, "train"))
    train(stream, 300, ranks=(0, 1, 2))
    for _ in range(40):
        train(stream, 5, ranks=(0, 2))
        stream.tick(0.0)
    [finding] = stream.findings("hang")
    assert finding.rank == 1
    assert "nothing from rank 1" in finding.summary


def test_a_rank_that_is_a_few_batches_behind_is_no_hang() -> None:
    stream = Stream()
    stream.event(PhaseChanged(0.0, 1, "train"))
    train(stream, 300, ranks=(0, 1))
    train(stream, 5)
    train(stream, 300, ranks=(0, 1))
    assert not stream.found
