"""The loss against the rows just before it: what is reported of short logs and slow rises, and what looks like one."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import msgspec
import pytest

from monitor.core.detectors.loss_at_chance import LossAtChanceConfig
from monitor.core.model import Severity
from monitor.core.policy.settings import Detectors, Policy
from monitor.core.state.learned import LossLevel
from tests.harness.simulation import Simulation

RULES = ("loss_held_high", "loss_shift", "loss_huge", "loss_early_rise", "loss_at_chance", "loss_spike", "divergence")


def told_of(*losses: float | None, **options: object) -> set[str]:
    """The rules that warn of a training with these losses."""
    training = Simulation(**{"batches_per_epoch": 100, "epochs": 100} | options)  # type: ignore[arg-type]
    for loss in losses:
        training.batch(loss)
    return {name for name in RULES if any(f.severity is not Severity.INFO for f in training.findings(name))}


def level_of(*losses: float | None) -> LossLevel:
    training = Simulation()
    for loss in losses:
        training.batch(loss)
    return training.run.training.ranks[0].learned.loss_level


def noise(seed: int, share: float = 0.03) -> Callable[[], float]:
    draw = random.Random(seed)
    return lambda: math.exp(share * draw.gauss(0, 1))


def test_three_losses_of_three_times_the_level_are_held_high_and_two_are_not() -> None:
    around = noise(1)
    calm = [around() for _ in range(40)]
    assert "loss_held_high" in told_of(*calm, 3.0, 3.0, 3.0)
    assert "loss_held_high" not in told_of(*calm, 3.0, 3.0, 1.0)


def test_a_held_loss_is_dated_to_its_first_batch() -> None:
    around, training = noise(1), Simulation()
    for loss in (*(around() for _ in range(40)), 3.0, 3.0, 3.0):
        training.batch(loss)
    (finding,) = training.findings("loss_held_high")
    assert (finding.since.count, finding.at.count) == (41, 43)
    assert finding.value == pytest.approx(3.0)
    assert finding.limit == pytest.approx(1.0, rel=0.05)


def test_eight_losses_a_quarter_higher_are_a_shift() -> None:
    around = noise(2)
    assert told_of(*(around() for _ in range(60)), *(1.25 * around() for _ in range(8))) == {"loss_shift"}


def test_values_ten_orders_of_magnitude_apart_are_reported_from_the_second_row_on() -> None:
    draw = random.Random(3)
    rows = [150.0 + draw.gauss(0, 5) if row % 2 == 0 else 10.0 ** draw.uniform(9.7, 14) for row in range(14)]
    assert told_of(*rows) == {"loss_huge"}
    assert told_of(*rows[:2]) == {"loss_huge"}


def test_a_loss_that_was_zero_is_no_measure_of_what_comes() -> None:
    assert not told_of(*[0.0, 1e-4, 2e-4, 1e-3, 5e-3, 0.0, 0.02, 2.0, 0.0, 1.5])


def test_a_loss_that_only_rises_from_its_first_row_is_reported_within_eleven() -> None:
    assert told_of(4.71, 12.4, 16.1, 22.4, 42.4, 58.5, 69.8, 76.1, 84.7, 84.7, 79.5) == {"loss_early_rise"}


def test_a_rise_without_a_fall_that_takes_hundreds_of_rows_is_reported() -> None:
    around = noise(4)
    assert "loss_early_rise" in told_of(*(2.0 * 1.015**row * around() for row in range(400)))


def test_the_rows_of_a_log_with_one_an_epoch_may_rise_for_ten_epochs() -> None:
    around = noise(5)
    rows = [1.2 ** min(row, 10) * 0.97 ** max(row - 10, 0) * around() for row in range(60)]
    assert not told_of(*rows, batches_per_epoch=1)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "shape",
    [
        lambda row: 3.0 * math.exp(-row / 100) + 0.3,
        lambda row: (1.0, 0.7, 0.5)[row // 200] + math.exp(-row / 40),
        lambda row: 2.0 + 0.7 * min(row / 300, 1.0) - 0.5 * min(row / 600, 1.0),  # the weight of a KL term grows
        lambda row: 1.0 - 0.1 * (row // 100) - 0.03 * (row % 100) / 100,  # an epoch's data are known at its end
    ],
    ids=["plain fall", "rate steps", "a term of growing weight", "epoch edges"],
)
def test_a_look_alike_is_silent(shape: Callable[[int], float], seed: int) -> None:
    around = noise(seed, 0.1)
    assert not told_of(*(max(shape(row), 0.05) * around() for row in range(600)))


@pytest.mark.parametrize("seed", range(4))
def test_a_warm_restart_of_the_rate_may_raise_the_loss_by_a_half(seed: int) -> None:
    around, training = noise(seed, 0.05), Simulation()
    for row in range(900):
        since = row % 300
        training.batch(
            (1.0 + (0.5 * math.exp(-since / 60) if row >= 300 else 1.0 * math.exp(-row / 60))) * around(),
            rate=0.05 * (1.0 + math.cos(math.pi * since / 300)) + 1e-3,
        )
    assert not [name for name in RULES if training.findings(name)]


@pytest.mark.parametrize("seed", range(4))
def test_a_detector_from_scratch_whose_loss_rises_to_thirty_times_and_falls_is_silent(seed: int) -> None:
    """Of a small real one: the more objects it matches, the higher its loss; single batches lie far apart at first."""
    draw, training = random.Random(seed), Simulation(batches_per_epoch=40)
    for row in range(480):
        level = 1.0 * 33.0 ** min(row / 100, 1.0) * 0.998 ** max(row - 100, 0)
        training.batch(level * math.exp((1.2 - 1.1 * min(row / 100, 1.0)) * draw.gauss(0, 1)))
    assert not [name for name in RULES if any(f.severity is not Severity.INFO for f in training.findings(name))]


def test_a_classifier_that_guesses_is_reported_where_its_classes_are_known() -> None:
    around = noise(6, 0.01)
    rows = [math.log(10.0) * around() for _ in range(576)]
    assert told_of(*rows, settings={"num_classes": "10"}) == {"loss_at_chance"}
    assert told_of(*rows, policy=Policy(detectors=Detectors(loss_at_chance=LossAtChanceConfig(classes=10)))) != set()
    assert not told_of(*rows)
    assert not told_of(*rows, settings={"num_classes": "80"})


def test_a_classifier_that_has_learnt_something_is_not_reported() -> None:
    around = noise(7, 0.01)
    rows = [math.log(10.0) * (1.0 - 0.1 * min(row / 500, 1.0)) * around() for row in range(640)]
    assert not told_of(*rows, settings={"nc": "10"})


def test_a_loss_that_may_be_negative_is_left_out() -> None:
    around = noise(8)
    assert not told_of(-1.0, *(around() for _ in range(80)), 3.0, 3.0, 3.0) & {"loss_held_high", "loss_shift"}


@pytest.mark.parametrize("loss", [None, math.nan, math.inf])
def test_a_row_without_a_usable_loss_changes_nothing(loss: float | None) -> None:
    steady = [1.0 + row % 7 / 100 for row in range(100)]
    assert level_of(*steady, loss) == level_of(*steady)


def test_the_level_of_the_loss_keeps_its_size_and_survives_a_snapshot() -> None:
    level = level_of(*[1.0 + row % 7 / 10 for row in range(3000)])
    assert len(msgspec.msgpack.encode(level)) < 250
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(level), type=LossLevel) == level
