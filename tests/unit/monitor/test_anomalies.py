"""Which finite anomalies stand, since when, and for how long."""

from __future__ import annotations

import math
import random

import pytest

from monitor.core.model import Family, Finding, Position, Severity
from monitor.core.state import anomalies
from monitor.core.state.anomalies import (
    ANOMALIES_MAX,
    SILENT_BATCHES,
    at_level,
    onset_of,
    standing,
    standing_at,
    unexplained_setting,
)
from monitor.core.state.levels import BLOCK, BLOCKS_MAX
from monitor.core.state.rate_steps import CLOSER_BATCHES, loosens
from tests.harness.simulation import ACTING, Simulation
from trainer_hooks.wire.messages import SettingChanged

SCHEDULED = "the scheduler"


class Rated:
    """A training whose loss is level 1 with 5 % noise, and whose rate a test changes."""

    def __init__(self, *, seed: int = 3, batches_per_epoch: int = 100) -> None:
        self.simulation = Simulation(policy=ACTING, batches_per_epoch=batches_per_epoch)
        self.draw = random.Random(seed)
        self.rate = 0.01
        self.level = 1.0

    @property
    def state(self):  # type: ignore[no-untyped-def]
        return self.simulation.run.training

    def batches(self, count: int, *, growth: float = 1.0, norm: float = 1.0) -> None:
        for _ in range(count):
            self.level *= growth
            loss = self.level * math.exp(self.draw.gauss(0.0, 0.05))
            self.simulation.batch(loss, norm * math.exp(self.draw.gauss(0.0, 0.1)), rate=self.rate)

    def rate_becomes(self, rate: float, reason: str = "") -> None:
        """In the next batch, and the hook reports it after that batch."""
        old, self.rate = self.rate, rate
        self.batches(1)
        at = self.state.position
        changed = SettingChanged(0.0, at.epoch, at.batch, "learning_rate/all", str(old), str(rate), reason)
        self.simulation.send(changed)

    @property
    def position(self) -> Position:
        found = self.state.position
        assert isinstance(found, Position)
        return found


def test_a_healthy_training_has_no_anomaly_and_is_at_its_level() -> None:
    training = Rated()
    training.batches(3000)
    assert standing(training.state) is None
    assert training.state.anomalies.past == []
    assert at_level(training.state)


@pytest.mark.parametrize("later", ["stays", "falls back after five batches"])
def test_a_rise_of_the_rate_that_nothing_explains_does_not_hide_the_loss_that_it_costs(later: str) -> None:
    training = Rated()
    training.batches(400)
    training.level = 2.7
    training.rate_becomes(2.0)
    changed_at = training.position
    training.batches(4)
    if later != "stays":
        training.rate_becomes(0.01, "lowered by the training")
    training.batches(60)
    stands = unexplained_setting(training.state)
    assert stands is not None
    assert (stands.since, stands.signal) == (changed_at, "learning_rate/all")
    assert not at_level(training.state)
    critical = [f.detector for f in training.state.findings if f.severity is Severity.CRITICAL]
    assert "loss_spike" in critical
    assert onset_of(training.state, training.position) == changed_at


def test_a_rise_of_the_rate_that_does_no_harm_is_reported_and_then_over() -> None:
    training = Rated()
    training.batches(400)
    training.rate_becomes(0.2)
    assert [f.detector for f in training.state.findings] == ["settings_unexplained"]
    training.batches(98)
    assert standing(training.state) is not None
    training.batches(2)
    assert standing(training.state) is None
    (past,) = training.state.anomalies.past
    assert past.ended == training.position
    before, within, after = (Position(1, 1, 0, count) for count in (400, 450, 600))
    assert [standing_at(training.state, at) is past for at in (before, within, after)] == [False, True, False]
    training.batches(600)
    assert [f.detector for f in training.state.findings] == ["settings_unexplained"]


def test_a_restart_that_the_scheduler_explains_is_forgiven() -> None:
    """Its rate was seen before; and of a first restart beyond every rate before the hook's word counts."""
    training = Rated()
    training.batches(300)
    training.rate_becomes(0.001, SCHEDULED)
    training.batches(300)
    for rate, level in ((0.01, 1.5), (0.3, 1.8)):
        training.level = level
        training.rate_becomes(rate, SCHEDULED)
        training.batches(400, growth=0.999)
        training.rate_becomes(0.001, SCHEDULED)
        training.batches(400)
    assert training.state.findings == []
    assert at_level(training.state)


def test_a_recorded_rate_that_jumps_beyond_every_rate_before_is_no_reason_to_forget_either() -> None:
    """A log has no hook that says what explains a rate."""
    training = Rated()
    training.batches(400)
    training.rate, training.level = 2.0, 2.7
    training.batches(60)
    assert "loss_spike" in [f.detector for f in training.state.findings if f.severity is Severity.CRITICAL]


def test_a_rate_that_changes_all_the_time_is_a_schedule_of_the_trainings_own() -> None:
    training = Rated()
    training.batches(200)
    for _ in range(4):
        training.rate_becomes(training.rate * 1.6)
        training.batches(2 * CLOSER_BATCHES[1])
    assert len(training.state.anomalies.past) == 3
    training.rate_becomes(training.rate * 1.6)
    assert standing(training.state) is None


def test_a_slow_divergence_is_dated_back_to_where_it_left_the_best_level() -> None:
    training = Rated()
    training.batches(500)
    began = training.position.count
    training.batches(160, growth=1.005)
    onset = onset_of(training.state, training.position)
    assert began <= onset.count <= began + 3 * BLOCK
    assert not at_level(training.state)


def test_a_spike_that_heals_is_over_and_the_state_after_it_is_not_suspected() -> None:
    training = Rated()
    training.batches(500)
    spiked = training.position.count + 1
    training.level = 6.0
    training.batches(12)
    stands = standing(training.state)
    assert stands is not None
    assert stands.since.count == spiked
    training.level = 1.0
    training.batches(30)
    assert standing(training.state) is None
    assert onset_of(training.state, training.position) == training.position


def test_a_norm_that_climbs_stands_until_it_is_back() -> None:
    training = Rated()
    training.batches(500)
    training.batches(20, norm=30.0)
    stands = standing(training.state)
    assert stands is not None
    assert (stands.family, stands.since.count) == (Family.GRADIENT, 501)
    training.batches(20)
    assert standing(training.state) is None


def test_a_new_level_is_accepted_once_the_detectors_have_been_silent_for_long() -> None:
    training = Rated()
    training.batches(500)
    training.level = 4.0
    training.batches(600)
    stands = standing(training.state)
    assert stands is not None
    while standing(training.state) is not None:
        training.batches(100)
        assert training.position.count < stands.since.count + 600 + 2 * SILENT_BATCHES


def test_the_past_anomalies_are_kept_up_to_a_limit() -> None:
    training = Rated()
    training.batches(100)
    at = training.position
    for number in range(ANOMALIES_MAX + 3):
        found = Finding("loss_spike", Family.LOSS, Severity.WARNING, 0, at, at, "loss", 1.0, 1.0, str(number))
        anomalies.note(training.state, found)
        anomalies.end_all(training.state, at)
    assert [each.summary for each in training.state.anomalies.past] == [str(n + 3) for n in range(ANOMALIES_MAX)]


def test_the_blocks_of_losses_are_kept_up_to_a_limit() -> None:
    training = Rated()
    training.batches((BLOCKS_MAX + 5) * BLOCK)
    blocks = training.state.ranks[0].learned.loss_blocks.blocks
    assert len(blocks) == BLOCKS_MAX
    assert blocks[-1].count == (BLOCKS_MAX + 4) * BLOCK + 1


@pytest.mark.parametrize(
    ("name", "old", "new", "found"),
    [
        ("learning_rate/all", "0.01", "0.3", True),
        ("learning_rate/all", "0.01", "0.014", False),
        ("learning_rate/all", "0.3", "0.01", False),
        ("learning_rate/all", "0.0", "0.01", False),
        ("momentum/all", "0.9", "0.99", True),
        ("momentum/all", "0.99", "0.9", False),
        ("clip_norm", "10.0", "1000.0", True),
        ("weight_decay/all", "0.0005", "0.05", True),
        ("weight_decay/all", "0.0005", "0.0006", False),
        ("learning_rate/all", "nan", "0.01", False),
        ("learning_rate/all", "0.01", "inf", False),
        ("optimizer", "SGD", "Adam", False),
    ],
)
def test_which_changes_may_bring_a_training_apart(name: str, old: str, new: str, found: bool) -> None:
    assert loosens(SettingChanged(0.0, 1, 0, name, old, new, "")) is found
