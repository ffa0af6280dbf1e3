"""A checkpoint that can't be believed, none for too long, and none left."""

from __future__ import annotations

import random

import pytest

from monitor.core.detectors import load_all
from monitor.core.model import Severity, Verdict
from tests.harness.streams import Stream, calm
from trainer_hooks.wire.messages import CheckpointSaved

ONLY = {name: detector for name, detector in load_all().items() if name.startswith("checkpoint_")}


def training(batches_per_epoch: int = 1000, epochs: int = 100) -> tuple[Stream, random.Random]:
    stream, draw = Stream(batches_per_epoch=batches_per_epoch, epochs=epochs, detectors=ONLY), random.Random(1)
    calm(stream, 100, draw)
    return stream, draw


def test_a_poisoned_checkpoint_is_a_warning_that_names_it_why_and_what_is_left() -> None:
    stream, draw = training()
    stream.checkpoint("a", epoch=3)
    calm(stream, 100, draw)
    stream.checkpoint("b", Verdict.POISONED, epoch=4)
    (finding,) = stream.findings("checkpoint_verdict")
    assert finding.severity is Severity.WARNING
    assert (
        finding.summary == "the checkpoint of epoch 4 is poisoned: it is poisoned; the newest sound one is of epoch 3"
    )
    assert [alert.kind for alert in stream.alerts] == ["watch"]
    assert not stream.run.incidents


def test_a_sound_checkpoint_is_no_news() -> None:
    stream, _ = training()
    stream.checkpoint("a")
    assert not stream.found


def test_a_torn_copy_is_a_warning() -> None:
    stream, _ = training()
    stream.event(CheckpointSaved(0.0, "", 3, "", torn=True))
    assert "epoch 3 is torn" in stream.findings("checkpoint_verdict")[0].summary


def test_a_format_that_can_not_be_verified_is_told_once() -> None:
    stream, draw = training()
    for epoch in range(1, 6):
        stream.checkpoint(f"c{epoch}", Verdict.UNVERIFIED, epoch=epoch)
        calm(stream, 1000, draw)
    assert stream.found["checkpoint_verdict/warning"] == 1


def test_that_no_kept_checkpoint_is_sound_is_a_note() -> None:
    stream, draw = training()
    stream.checkpoint("a", epoch=1)
    stream.checkpoint("b", Verdict.POISONED, epoch=2)
    assert not stream.findings("checkpoint_retention")
    stream.run.checkpoints[0].dropped = True
    calm(stream, 400, draw)
    stream.checkpoint("c", Verdict.POISONED, epoch=3)
    (finding,) = stream.findings("checkpoint_retention")
    assert (finding.severity, finding.value) == (Severity.INFO, 2.0)


def saving(stream: Stream, draw: random.Random, every: list[int], *, is_best: bool = False) -> None:
    for batches in every:
        calm(stream, batches, draw)
        stream.checkpoint(f"{stream.counts[0].batches}", is_best=is_best)


def test_three_times_the_longest_distance_without_a_checkpoint_is_a_warning() -> None:
    stream, draw = training()
    saving(stream, draw, [500, 500, 500])
    calm(stream, 1700, draw)
    assert not stream.found
    calm(stream, 300, draw)
    assert stream.found == {"checkpoint_age/warning": 1}
    assert "at most 600 lay between two before" in stream.findings("checkpoint_age")[0].summary


def test_where_only_best_ones_are_saved_it_is_a_note() -> None:
    stream, draw = training()
    saving(stream, draw, [500, 500, 500], is_best=True)
    calm(stream, 2000, draw)
    assert stream.found == {"checkpoint_age/info": 1}


@pytest.mark.parametrize(
    "every",
    [[200, 400, 800, 1600, 3200], [1000] * 6, [300, 900, 300, 900, 2000]],
    ids=["doubling", "even", "uneven"],
)
def test_schedules_that_people_use_are_silent(every: list[int]) -> None:
    stream, draw = training()
    saving(stream, draw, every)
    calm(stream, 900, draw)
    assert not stream.found


def test_a_relaunch_takes_the_distance_of_before_and_starts_to_count_anew() -> None:
    stream, draw = training()
    saving(stream, draw, [1000, 1000])
    stream.restart()
    calm(stream, 2900, draw)
    assert not stream.found
    calm(stream, 600, draw)
    assert stream.found == {"checkpoint_age/warning": 1}


def test_no_checkpoint_at_all_is_silent_in_the_first_epoch_and_a_note_after_a_quarter_of_the_training() -> None:
    one_epoch, draw = training(batches_per_epoch=2000, epochs=1)
    calm(one_epoch, 1800, draw)
    assert not one_epoch.found
    stream, draw = training(batches_per_epoch=500, epochs=10)
    calm(stream, 1100, draw)
    assert not stream.found
    calm(stream, 400, draw)
    assert stream.found == {"checkpoint_age/info": 1}
