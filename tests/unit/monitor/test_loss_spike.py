"""A spike is reported at once, waited for, and critical only where it stays."""

from __future__ import annotations

import math
import random

import pytest

from monitor.core.detectors.loss_spike import LossSpikeConfig
from monitor.core.model import Severity
from monitor.core.policy.settings import Detectors, Policy
from tests.harness.simulation import Simulation, calm

WARNS_ONLY = Policy(detectors=Detectors(loss_spike=LossSpikeConfig(act=False, ratio_beyond=100.0)))
NEVER_BEYOND = Policy(detectors=Detectors(loss_spike=LossSpikeConfig(ratio_beyond=100.0)))


def after_calm(policy: Policy | None = None, batches: int = 1000, seed: int = 1) -> tuple[Simulation, random.Random]:
    training, draw = Simulation(policy=policy or Policy()), random.Random(seed)
    calm(training, batches, draw)
    assert not training.found
    return training, draw


def high(training: Simulation, draw: random.Random, batches: int, loss: float, norm: float = 1.0) -> None:
    for _ in range(batches):
        noise, other = math.exp(0.1 * draw.gauss(0, 1)), math.exp(0.3 * draw.gauss(0, 1))
        training.batch(2.0 * loss * noise, 3.0 * norm * other)


def test_one_high_batch_is_told_at_that_batch_and_nobody_is_alerted() -> None:
    training, draw = after_calm(NEVER_BEYOND)
    high(training, draw, 1, loss=5.0)
    (finding,) = training.findings("loss_spike")
    assert (finding.severity, finding.at.count, finding.since.count) == (Severity.INFO, 1001, 1001)
    assert finding.value > 4.0 * finding.limit
    calm(training, 500, draw)
    assert training.found == {"loss_spike/info": 1}
    assert not training.alerts


def test_one_batch_beyond_every_jump_before_is_a_warning_and_half_as_far_again_is_none() -> None:
    training, draw = after_calm()
    high(training, draw, 1, loss=5.0)
    assert training.findings("loss_spike")[0].severity is Severity.WARNING
    calm(training, 200, draw)
    high(training, draw, 1, loss=5.0)
    calm(training, 200, draw)
    assert training.found["loss_spike/warning"] == 1


def test_a_batch_that_is_less_than_three_times_as_high_is_only_noted() -> None:
    training, draw = after_calm()
    high(training, draw, 1, loss=2.8)
    calm(training, 200, draw)
    assert training.found == {"loss_spike/info": 1}


def test_loss_and_norm_together_are_a_warning() -> None:
    training, draw = after_calm()
    high(training, draw, 1, loss=1.0, norm=100.0)
    high(training, draw, 1, loss=5.0)
    assert training.found["loss_spike/warning"] == 1
    assert {a.kind for a in training.alerts} == {"watch"}


def test_a_spike_that_comes_back_within_the_wait_opens_nothing() -> None:
    """As BLOOM's did, in about 30 batches."""
    training, draw = after_calm()
    for at in range(32):
        high(training, draw, 1, loss=1.0 + 4.0 * math.exp(-at / 8), norm=1.0 + 100.0 * math.exp(-at / 6))
    calm(training, 1000, draw)
    assert not training.run.training.ledger.incidents
    assert "loss_spike/critical" not in training.found


def test_one_that_has_not_come_back_after_fifty_batches_opens_an_incident_dated_to_its_first() -> None:
    training, draw = after_calm()
    high(training, draw, 60, loss=5.0)
    (incident,) = training.run.training.ledger.incidents
    assert incident.opened_at.count == 1050
    assert incident.onset.count == 1001


def test_where_it_may_not_act_it_warns_at_the_second_batch_and_once_however_long_it_lasts() -> None:
    training, draw = after_calm(WARNS_ONLY)
    high(training, draw, 60, loss=5.0)
    assert not training.run.training.ledger.incidents
    last = training.findings("loss_spike")[-1]
    assert (last.severity, last.at.count) == (Severity.WARNING, 1002)
    assert sum("loss_spike" in a.id for a in training.alerts) == 1


def test_a_level_that_stays_is_accepted_and_a_spike_above_it_is_found_again() -> None:
    training, draw = after_calm()
    high(training, draw, 1500, loss=5.0)
    before = len(training.findings("loss_spike"))
    high(training, draw, 1, loss=50.0)
    assert len(training.findings("loss_spike")) == before + 1


def test_one_that_has_come_more_than_half_of_its_way_back_is_waited_for() -> None:
    """Fifty batches are over and it is still far above its level: but it falls, as BLOOM's did."""
    training, draw = after_calm()
    for at in range(60):
        high(training, draw, 1, loss=1.0 + 49.0 * math.exp(-at / 15))
    assert training.found["loss_spike/warning"] == 1
    assert not training.run.training.ledger.incidents


def test_one_batch_at_ten_times_the_level_is_a_warning_by_itself() -> None:
    training, draw = after_calm()
    high(training, draw, 1, loss=30.0)
    assert training.found == {"loss_spike/warning": 1}


def test_a_jump_above_all_there_was_is_told_in_the_warm_up_and_a_smaller_one_is_not() -> None:
    for batches in (6, 20, 90):
        training, draw = Simulation(), random.Random(1)
        calm(training, batches, draw)
        high(training, draw, 1, loss=1.3)
        assert not training.found
        high(training, draw, 1, loss=20.0)
        (finding,) = training.findings("loss_spike")
        assert (finding.severity, finding.at.count) == (Severity.WARNING, batches + 2)


def test_the_first_four_batches_say_nothing_of_the_fifth_being_high() -> None:
    """Two losses of an untrained model may lie any way apart: a limit of few samples is wide."""
    training = Simulation()
    for loss in (2.3, 2.9, 2.4, 2.0, 5.0):
        training.batch(loss)
    assert not training.found


def test_an_early_level_that_stays_is_accepted() -> None:
    training, draw = Simulation(), random.Random(1)
    calm(training, 10, draw)
    high(training, draw, 200, loss=5.0)
    spikes = {name: times for name, times in training.found.items() if name.startswith("loss_spike")}
    assert spikes == {"loss_spike/info": 1, "loss_spike/warning": 1}
    assert training.findings("loss_spike")[-1].at.count < 20


def test_a_falling_loss_does_not_hide_a_jump_by_two_and_a_half() -> None:
    """A level that lags makes a wide spread of the fall: real logs hid theirs that way."""
    training, draw = Simulation(), random.Random(1)
    for at in range(560):
        training.batch(1.2 / math.sqrt(1.0 + at / 80.0) * math.exp(0.05 * draw.gauss(0, 1)))
    assert not training.found
    for loss in (0.9, 1.1, 1.1, 1.0, 0.8, 0.8):
        training.batch(loss)
    assert training.found["loss_spike/warning"] == 1


def test_a_rise_that_no_single_batch_of_a_noisy_loss_shows_is_a_warning_dated_to_its_first() -> None:
    training, draw = Simulation(), random.Random(1)
    for _ in range(2000):
        training.batch(0.1 * math.exp(0.4 * draw.gauss(0, 1)))
    assert not training.found
    for _ in range(10):
        training.batch(0.35 * math.exp(0.2 * draw.gauss(0, 1)))
    (finding,) = training.findings("loss_spike")
    assert finding.severity is Severity.WARNING
    assert "over the last 8 batches" in finding.summary
    assert 2001 <= finding.since.count <= finding.at.count <= 2010


def test_heavy_tails_of_the_run_itself_raise_what_counts_as_a_spike() -> None:
    training, draw = Simulation(), random.Random(1)
    for at in range(6000):
        calm(training, 1, draw) if at % 40 else high(training, draw, 1, loss=3.0)
    early = training.found.get("loss_spike/info", 0)
    assert early <= 3
    for at in range(6000):
        calm(training, 1, draw) if at % 40 else high(training, draw, 1, loss=3.0)
    assert training.found.get("loss_spike/info", 0) == early


@pytest.mark.parametrize("level", [-500.0, 0.0, 0.3])
def test_a_loss_that_may_be_negative_has_spikes_too(level: float) -> None:
    training, draw = Simulation(), random.Random(1)
    for _ in range(1000):
        training.batch(level + draw.gauss(0, 1))
    assert not training.found
    training.batch(level + 3000.0)
    assert training.found == {"loss_spike/warning": 1}
