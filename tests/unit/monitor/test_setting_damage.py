"""A setting that jumped for no known reason, and a loss that does not come back: reported, and what is done."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from monitor.core.model import Severity, Verdict
from monitor.core.policy.settings import Policy
from monitor.core.state.anomalies import standing
from monitor.core.state.levels import NEWEST
from monitor.core.state.rate_steps import CLOSER_BATCHES
from monitor.core.state.setting_jumps import ACCEPTED_BATCHES
from tests.harness.simulation import ACTING, SUPERVISOR_PID, Simulation
from trainer_hooks.wire.messages import SettingChanged

RATE = "learning_rate/all"


class Changed:
    """A training whose loss has 5 % noise, and whose settings a test changes for no reason."""

    def __init__(self, *, epochs: int = 100, first: float = 1.0, policy: Policy = ACTING, **options: Any) -> None:
        self.simulation = Simulation(policy=policy, batches_per_epoch=100, epochs=epochs, **options)
        self.draw = random.Random(3)
        self.rate = 0.01
        self.batches(100, first)
        self.batches(300)

    def batches(self, count: int, level: float = 1.0) -> None:
        for _ in range(count):
            self.simulation.batch(level * math.exp(self.draw.gauss(0.0, 0.05)), 1.0, rate=self.rate)

    def becomes(self, old: float, new: float, name: str = RATE, level: float = 1.0, reason: str = "") -> None:
        """In the next batch, which the hook reports after it."""
        self.rate = new if name == RATE else self.rate
        self.batches(1, level)
        at = self.simulation.run.training.position
        assert at is not None
        self.simulation.send(SettingChanged(0.0, at.epoch, at.batch, name, str(old), str(new), reason))

    @property
    def found(self) -> list[tuple[Severity, int]]:
        """Severity of each finding, and the batch that it is dated to."""
        findings = self.simulation.run.training.findings
        return [(f.severity, f.since.count) for f in findings if f.detector == "setting_damage"]


@pytest.mark.parametrize(
    ("name", "own", "jumped"), [(RATE, 0.01, 2.0), ("momentum/all", 0.9, 0.999), ("clip_norm", 1.0, 50.0)]
)
def test_a_loss_that_falls_slowly_after_the_setting_is_back_is_dated_to_the_jump(
    name: str, own: float, jumped: float
) -> None:
    training = Changed()
    training.becomes(own, jumped, name)
    jumped_at = training.simulation.run.training.position
    assert jumped_at is not None
    training.batches(4, 13.0)
    training.becomes(jumped, own, name, level=13.0, reason="lowered by the training" if name == RATE else "")
    for batch in range(120):
        training.batches(1, 1.8 + 11.0 * 0.97**batch)
    assert training.found == [(Severity.CRITICAL, jumped_at.count)]


def test_a_loss_that_comes_back_within_the_wait_is_never_reported() -> None:
    training = Changed()
    training.becomes(0.01, 2.0)
    training.batches(4, 13.0)
    training.becomes(2.0, 0.01, level=13.0)
    for batch in range(60):
        training.batches(1, 1.0 + 12.0 * 0.9**batch)
    training.batches(1000)
    assert training.found == []
    assert training.simulation.run.training.ranks[0].learned.jump is None


def test_a_loss_that_went_up_and_then_far_below_its_level_is_of_a_model_that_died() -> None:
    training = Changed()
    training.becomes(0.01, 2.0)
    training.batches(4, 50.0)
    training.becomes(2.0, 0.01, level=50.0)
    training.batches(140, 0.02)
    assert [severity for severity, _ in training.found][:1] == [Severity.CRITICAL]


def test_a_loss_that_falls_without_having_jumped_is_learning() -> None:
    training = Changed()
    training.becomes(0.01, 2.0)
    training.batches(4)
    training.becomes(2.0, 0.01)
    training.batches(600, 0.2)
    assert training.found == []


def test_a_higher_loss_at_a_setting_that_has_stayed_is_left_alone_until_it_is_worse_than_at_the_start() -> None:
    for level, expected in ((3.0, 1), (1.4, 0)):
        training = Changed()
        training.becomes(0.01, 0.1, level=level)
        training.batches(90, level)
        assert training.found == []
        training.batches(60, level)
        assert len(training.found[:1]) == expected


def test_a_short_training_does_not_wait_longer_than_it_has() -> None:
    training = Changed(epochs=5)
    training.becomes(0.01, 2.0)
    training.batches(4, 13.0)
    training.becomes(2.0, 0.01, level=13.0)
    training.batches(30 + NEWEST, 2.5)
    assert len(training.found) == 1


@pytest.mark.parametrize("later", range(10))
def test_the_wait_of_a_short_training_stands_while_less_and_less_is_left(later: int) -> None:
    """What is left falls by ten batches for each batch of the wait: whatever the place, the report comes at its end."""
    training = Changed(epochs=10)
    training.batches(later)
    training.becomes(0.01, 2.0)
    training.batches(4, 13.0)
    training.becomes(2.0, 0.01, level=13.0)
    training.batches(61, 2.5)
    assert len(training.found) == 1


def test_what_nothing_brings_back_is_the_new_level_after_a_thousand_batches() -> None:
    training = Changed()
    training.becomes(0.01, 0.1)
    training.batches(ACCEPTED_BATCHES + NEWEST + CLOSER_BATCHES[0], 1.7)
    assert training.simulation.run.training.ranks[0].learned.jump is None


def test_a_rise_among_the_first_losses_does_not_make_all_that_follows_suspect() -> None:
    """A detector from scratch: the loss rises from 1 to 4 in the first batches, and is healthy."""
    simulation, draw = Simulation(policy=ACTING, batches_per_epoch=20), random.Random(5)
    for batch in range(100):
        simulation.batch((1.0 if batch < 20 else 4.0) * math.exp(draw.gauss(0.0, 0.1)), 1.0)
    assert "loss_early_rise" in [f.detector for f in simulation.run.training.findings]
    assert standing(simulation.run.training) is None


@pytest.mark.parametrize("policy", [Policy(), ACTING])
def test_a_loss_that_comes_back_once_its_script_lowers_the_rate_again_is_not_gone_back_from(policy: Policy) -> None:
    """Ten times the rate for three epochs, for no known reason: the loss is higher then, and soon as before."""
    training = Changed(first=2.5, policy=policy, act=True, supervisor_pid=SUPERVISOR_PID)
    simulation = training.simulation
    simulation.checkpoint("a" * 64, Verdict.SOUND, epoch=5, size=1, is_best=True)
    training.batches(100)
    training.becomes(0.01, 0.1, level=1.7)
    training.batches(300, 1.7)
    training.becomes(0.1, 0.01, level=1.7, reason="lowered by the training")
    for batch in range(200):
        training.batches(1, 1.0 + 0.7 * 0.9**batch)
    assert simulation.run.training.ledger.incidents, "the fault did not fire"
    assert simulation.orders == []
    assert any("is back, and the loss has 100 batches to come back" in line for line in simulation.messages)
