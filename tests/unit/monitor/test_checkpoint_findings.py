"""A checkpoint that can't be believed, none for too long, and none left."""

from __future__ import annotations

import random

import pytest

from monitor.core.detectors import load_all
from monitor.core.model import Severity, Verdict
from tests.harness.simulation import Simulation, calm
from trainer_hooks.wire.messages import CheckpointSaved

ONLY = {name: detector for name, detector in load_all().items() if name.startswith("checkpoint_")}


def calm_training(batches_per_epoch: int = 1000, epochs: int = 100) -> tuple[Simulation, random.Random]:
    training, draw = Simulation(batches_per_epoch=batches_per_epoch, epochs=epochs, detectors=ONLY), random.Random(1)
    calm(training, 100, draw)
    return training, draw


def test_a_poisoned_checkpoint_is_a_warning_that_names_it_why_and_what_is_left() -> None:
    training, draw = calm_training()
    training.checkpoint("a", epoch=3)
    calm(training, 100, draw)
    training.checkpoint("b", Verdict.POISONED, epoch=4)
    (finding,) = training.findings("checkpoint_verdict")
    assert finding.severity is Severity.WARNING
    assert (
        finding.summary == "the checkpoint of epoch 4 is poisoned: it is poisoned; the newest sound one is of epoch 3"
    )
    assert [alert.kind for alert in training.alerts] == ["watch"]
    assert not training.run.training.ledger.incidents


def test_a_poisoned_checkpoint_that_the_training_was_resumed_from_is_said_at_the_start_and_training_goes_on() -> None:
    training, draw = Simulation(start_epoch=4, act=True, detectors=ONLY), random.Random(1)
    training.checkpoint("a", Verdict.POISONED, epoch=3, resumed=True)
    calm(training, 100, draw)
    (finding,) = training.findings("checkpoint_verdict")
    assert finding.summary.startswith("the checkpoint of epoch 3 (resumed from) is poisoned")
    assert any("checkpoint of epoch 3 (resumed from): poisoned" in line for line in training.messages)
    assert not training.orders


def test_two_poisoned_checkpoints_in_a_row_are_critical_whatever_the_batches_say() -> None:
    training, draw = calm_training()
    training.checkpoint("a", epoch=3)
    for number, epoch in enumerate((4, 5)):
        calm(training, 100, draw)
        training.checkpoint(f"b{epoch}", Verdict.POISONED, epoch=epoch)
        assert training.found["checkpoint_verdict/warning"] == 1
        assert training.found.get("checkpoint_verdict/critical", 0) == number
    assert "the second checkpoint in a row is poisoned" in training.findings("checkpoint_verdict")[-1].summary
    assert len(training.run.training.ledger.incidents) == 1


def test_two_poisoned_files_of_one_moment_and_two_with_a_sound_one_between_are_not_two_in_a_row() -> None:
    training, draw = calm_training()
    training.checkpoint("last", Verdict.POISONED, epoch=3)
    training.checkpoint("best", Verdict.POISONED, epoch=3)
    for name, verdict in (("a", Verdict.SOUND), ("b", Verdict.POISONED), ("c", Verdict.SOUND)):
        calm(training, 100, draw)
        training.checkpoint(name, verdict, epoch=4)
    assert "checkpoint_verdict/critical" not in training.found
    assert not training.run.training.ledger.incidents


def test_a_sound_checkpoint_is_no_news() -> None:
    training, _ = calm_training()
    training.checkpoint("a")
    assert not training.found


def test_a_torn_copy_is_a_warning() -> None:
    training, _ = calm_training()
    training.send(CheckpointSaved(0.0, "", 3, "", torn=True))
    assert "epoch 3 is torn" in training.findings("checkpoint_verdict")[0].summary


def test_a_format_that_can_not_be_verified_is_told_once() -> None:
    training, draw = calm_training()
    for epoch in range(1, 6):
        training.checkpoint(f"c{epoch}", Verdict.UNVERIFIED, epoch=epoch)
        calm(training, 1000, draw)
    assert training.found["checkpoint_verdict/warning"] == 1


def test_that_no_kept_checkpoint_is_sound_is_a_note() -> None:
    training, draw = calm_training()
    training.checkpoint("a", epoch=1)
    training.checkpoint("b", Verdict.POISONED, epoch=2)
    assert not training.findings("checkpoint_retention")
    training.run.training.ledger.copies.dropped["a"] = 1
    calm(training, 400, draw)
    training.checkpoint("c", Verdict.POISONED, epoch=3)
    (finding,) = training.findings("checkpoint_retention")
    assert (finding.severity, finding.value) == (Severity.INFO, 2.0)


def saving(training: Simulation, draw: random.Random, every: list[int], *, is_best: bool = False) -> None:
    for batches in every:
        calm(training, batches, draw)
        training.checkpoint(f"{training.counts[0].batches}", is_best=is_best)


def test_three_times_the_longest_distance_without_a_checkpoint_is_a_warning() -> None:
    training, draw = calm_training()
    saving(training, draw, [500, 500, 500])
    calm(training, 1700, draw)
    assert not training.found
    calm(training, 300, draw)
    assert training.found == {"checkpoint_age/warning": 1}
    assert "at most 600 lay between two before" in training.findings("checkpoint_age")[0].summary


def test_where_only_best_ones_are_saved_it_is_a_note() -> None:
    training, draw = calm_training()
    saving(training, draw, [500, 500, 500], is_best=True)
    calm(training, 2000, draw)
    assert training.found == {"checkpoint_age/info": 1}


@pytest.mark.parametrize(
    "every",
    [[200, 400, 800, 1600, 3200], [1000] * 6, [300, 900, 300, 900, 2000]],
    ids=["doubling", "even", "uneven"],
)
def test_schedules_that_people_use_are_silent(every: list[int]) -> None:
    training, draw = calm_training()
    saving(training, draw, every)
    calm(training, 900, draw)
    assert not training.found


def test_a_relaunch_takes_the_distance_of_before_and_starts_to_count_anew() -> None:
    training, draw = calm_training()
    saving(training, draw, [1000, 1000])
    training.restart()
    calm(training, 2900, draw)
    assert not training.found
    calm(training, 600, draw)
    assert training.found == {"checkpoint_age/warning": 1}


def test_no_checkpoint_at_all_is_silent_in_the_first_epoch_and_a_note_after_a_quarter_of_the_training() -> None:
    one_epoch, draw = calm_training(batches_per_epoch=2000, epochs=1)
    calm(one_epoch, 1800, draw)
    assert not one_epoch.found
    training, draw = calm_training(batches_per_epoch=500, epochs=10)
    calm(training, 1100, draw)
    assert not training.found
    calm(training, 400, draw)
    assert training.found == {"checkpoint_age/info": 1}
