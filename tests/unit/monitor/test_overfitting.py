"""The validation gets worse while the training goes on learning; and what only looks like it."""

from __future__ import annotations

import math
import random

import pytest

from monitor.core.detectors import load_all
from monitor.core.model import Severity
from monitor.core.state.rows import EpochRow
from tests.harness.simulation import Simulation, calm
from trainer_hooks.wire.messages import EpochEnded


def validated(
    fitness: list[float] | None, losses: list[float] | None = None, train: list[float] | None = None
) -> Simulation:
    """Epochs one after the other; the training loss falls unless it is given."""
    training = Simulation(detectors={"overfitting": load_all()["overfitting"]})
    calm(training, 1, random.Random(1))
    for at in range(len(fitness or losses or [])):
        loss = train[at] if train else 2.0 * 0.95**at
        training.run.training.epochs.append(EpochRow(1, at + 1, 1000, 0.0, loss_sum=loss * 100, loss_count=100))
        metrics = {"val/box_loss": losses[at] / 2, "val/cls_loss": losses[at] / 2} if losses else {}
        training.send(EpochEnded(0.0, at + 1, 1.0, (), metrics, fitness[at] if fitness else None))
        training.batch(loss, missed=400)  # another streak, if it were told again
    return training


RISE_AND_FALL = [0.2, 0.3, 0.4, 0.45, 0.5, 0.5, 0.47, 0.45, 0.42, 0.4, 0.38, 0.36, 0.34, 0.3]


def test_a_fitness_that_falls_for_epochs_while_the_loss_falls_is_a_note_told_once() -> None:
    training = validated(RISE_AND_FALL)
    (finding,) = training.findings("overfitting")
    assert finding.severity is Severity.INFO
    assert "the fitness was best in epoch " in finding.summary
    assert not training.alerts


def test_a_training_loss_that_falls_below_zero_shows_no_share_to_compare() -> None:
    falls = [1.0 - 0.2 * at for at in range(len(RISE_AND_FALL))]
    assert not validated(RISE_AND_FALL, train=falls).found


def test_without_a_fitness_the_loss_of_the_validation_is_held_against_its_best() -> None:
    training = validated(None, [3.0, 2.5, 2.0, 1.8, 1.7, 1.75, 1.85, 1.95, 2.05, 2.2, 2.4, 2.6])
    assert "the validation loss was best in epoch 5" in training.findings("overfitting")[0].summary


@pytest.mark.parametrize("seed", range(20))
def test_a_small_unstable_training_is_silent(seed: int) -> None:
    """Twenty images to validate on: every epoch differs by a quarter, and nothing is lost."""
    draw = random.Random(seed)
    training = validated(
        [0.4 * (1.0 - math.exp(-at / 5)) * math.exp(0.25 * draw.gauss(0, 1)) + 0.01 for at in range(60)]
    )
    assert not training.found


@pytest.mark.parametrize(
    "case",
    [
        "a plateau",
        "still rising",
        "the loss rises too",
        "too few epochs",
        "validation losses rise and fitness does not fall",
    ],
)
def test_what_is_no_overfitting_is_silent(case: str) -> None:
    fitness = {
        "a plateau": [0.2, 0.3, 0.4, 0.5] + [0.49, 0.495] * 10,
        "still rising": [0.1 + 0.02 * at for at in range(20)],
        "the loss rises too": RISE_AND_FALL,
        "too few epochs": RISE_AND_FALL[2:8],
        "validation losses rise and fitness does not fall": [0.1 + 0.02 * at for at in range(20)],
    }[case]
    losses = [1.0 + 0.1 * at for at in range(20)] if case.startswith("validation losses") else None
    train = [2.0 * 1.05**at for at in range(20)] if case == "the loss rises too" else None
    training = validated(fitness, losses, train)
    assert not training.findings("overfitting")
