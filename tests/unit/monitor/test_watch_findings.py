"""What opens no incident is told once a streak, and people are not woken twice for it."""

from __future__ import annotations

import math
import random

import pytest

from monitor.core.detectors.hang import HangConfig
from monitor.core.model import Family, Finding, Severity
from monitor.core.policy.settings import Detectors, Policy
from monitor.core.policy.texts import watch_text
from monitor.core.state.rows import EpochRow
from tests.harness.simulation import SUPERVISOR_PID, Simulation, calm
from trainer_hooks.wire.messages import EpochEnded, SettingChanged


def changed(training: Simulation, new: str, reason: str = "") -> None:
    training.send(SettingChanged(0.0, 1, 1, "weight_decay/all", "0.1", new, reason))


def test_a_change_that_nothing_explains_is_a_warning_and_an_explained_one_is_none() -> None:
    training, draw = Simulation(), random.Random(1)
    calm(training, 100, draw)
    changed(training, "0.2", reason="plan")
    assert not training.found
    changed(training, "0.3")
    (alert,) = training.alerts
    assert (alert.kind, alert.severity, alert.incident) == ("watch", Severity.WARNING, "")
    assert "weight_decay/all changed from 0.1 to 0.3" in alert.title


def test_a_spell_is_told_once_and_a_new_one_again_but_alerted_only_after_a_thousand_batches() -> None:
    training, draw = Simulation(), random.Random(1)
    for _ in range(3):
        for _ in range(20):
            changed(training, "0.3")
            calm(training, 10, draw)
        calm(training, 400, draw)
    assert training.found == {"settings_unexplained/warning": 3}
    assert len(training.findings("settings_unexplained")) == 3
    assert len(training.alerts) == 2
    assert len({a.id for a in training.alerts}) == 2


def test_alerts_of_two_generations_have_different_ids() -> None:
    training, draw = Simulation(), random.Random(1)
    for _ in range(2):
        calm(training, 100, draw)
        changed(training, "0.3")
        training.restart()
    assert len({a.id for a in training.alerts}) == 2


def test_the_log_of_findings_is_bounded_and_the_counters_are_not() -> None:
    training, draw = Simulation(), random.Random(1)
    for _ in range(250):
        changed(training, "0.3")
        calm(training, 301, draw)
    assert training.found["settings_unexplained/warning"] == 250
    assert len(training.run.training.findings) == 200


def ended(training: Simulation, epoch: int, metric: float, fitness: float) -> None:
    training.run.training.epochs.append(EpochRow(1, epoch, 1000, 0.0))
    training.send(EpochEnded(0.0, epoch, 1.0, (), {"mAP50": metric}, fitness))


def test_a_validation_that_is_nan_while_the_training_is_finite_is_a_warning() -> None:
    training, draw = Simulation(), random.Random(1)
    calm(training, 100, draw)
    ended(training, 1, 0.3, 0.3)
    ended(training, 2, math.nan, 0.0)
    (finding,) = training.findings("validation")
    assert finding.severity is Severity.WARNING
    assert "mAP50 not finite, while the loss is" in finding.summary


def test_a_metric_that_never_was_finite_wakes_nobody() -> None:
    """As the average precision of a class that has no samples."""
    training, draw = Simulation(), random.Random(1)
    calm(training, 100, draw)
    ended(training, 1, math.nan, 0.3)
    ended(training, 2, math.nan, 0.4)
    assert training.found == {"validation/info": 1}
    assert not training.alerts


def severities_of(*fitness: float) -> list[Severity]:
    """What is said of a training whose validations have these results."""
    training, draw = Simulation(), random.Random(1)
    calm(training, 100, draw)
    for epoch, value in enumerate(fitness, 1):
        ended(training, epoch, value, value)
    return [finding.severity for finding in training.findings("validation")]


def test_a_fitness_that_falls_to_zero_and_stays_is_a_warning_and_one_that_never_left_it_is_none() -> None:
    training, draw = Simulation(), random.Random(1)
    calm(training, 100, draw)
    ended(training, 1, 0.0, 0.0)
    ended(training, 2, 0.3, 0.3)
    assert not training.found
    ended(training, 3, 0.0, 0.0)
    ended(training, 4, 0.0, 0.0)
    ended(training, 5, 0.0, 0.0)
    told, warned = training.findings("validation")
    assert "fitness fell to 0; it was 0.3" in told.summary
    assert "fitness fell to 0, for 3 validations in a row; it was 0.3" in warned.summary
    assert (told.severity, warned.severity) == (Severity.INFO, Severity.WARNING)


def test_a_fitness_that_flickers_wakes_nobody_and_one_that_collapses_after_flickering_does() -> None:
    """As the mAP of a data set of a few images."""
    assert Severity.WARNING not in severities_of(0.0, 0.0, 0.0, 0.2, 0.0, 0.3, 0.1, 0.0, 0.2, 0.25, 0.0, 0.4)
    assert severities_of(0.3, 0.0, 0.2, 0.0, 0.25, 0.0, 0.0, 0.0, 0.0)[-1] is Severity.WARNING
    false = [seed for seed in range(40) if Severity.WARNING in severities_of(*flickering(seed))]
    assert not false, f"seeds {false}"


def flickering(seed: int) -> list[float]:
    """A fitness that rises, and is zero in one validation of ten."""
    draw = random.Random(seed)
    return [0.5 * (1 - math.exp(-at / 20)) * (draw.random() > 0.1) for at in range(80)]


def test_the_one_component_that_is_not_finite_is_named_and_no_incident_comes_of_it() -> None:
    training, draw = Simulation(part_names=("box_loss", "seg_loss", "cls_loss")), random.Random(1)
    calm(training, 100, draw)
    training.batch(math.nan, 3.0, parts=(1.0, math.nan, 2.0))
    (finding,) = training.findings("nonfinite_component")
    assert finding.signal == "seg_loss"
    assert not training.run.training.ledger.incidents


def test_the_rank_that_stands_out_is_named() -> None:
    training, draw = Simulation(), random.Random(1)
    for at in range(600):
        for rank in range(4):
            factor = 2.0 if rank == 2 and at >= 300 else 1.0
            training.batch(
                2.0 * factor * math.exp(0.1 * draw.gauss(0, 1)), 3.0 * math.exp(0.3 * draw.gauss(0, 1)), rank=rank
            )
    findings = training.findings("rank_outlier")
    assert {(f.rank, f.signal) for f in findings} == {(2, "loss")}


def test_an_early_word_of_a_hang_says_that_an_action_may_follow_where_the_policy_may_act() -> None:
    training, draw = Simulation(), random.Random(1)
    calm(training, 100, draw)
    at = training.run.training.position
    assert at is not None
    hang = Finding("hang", Family.HANG, Severity.WARNING, 0, at, at, "batch_s", 40.0, 30.0, "training stands still")
    assert "No action yet: if it stands still for much longer" in watch_text(hang, "", acts=True)
    assert "No action: the policy only alerts on hang." in watch_text(hang, "", acts=False)


@pytest.mark.parametrize("act", [True, False])
def test_the_alert_of_a_hang_says_what_its_own_setting_lets_the_policy_do(*, act: bool) -> None:
    policy = Policy(detectors=Detectors(hang=HangConfig(act=act)))
    training, draw = Simulation(policy=policy, act=True, supervisor_pid=SUPERVISOR_PID), random.Random(1)
    calm(training, 100, draw)
    for _ in range(60):
        training.tick(1.0)
    (alert,) = (each for each in training.alerts if "training stands still" in each.title)
    assert ("No action yet" in alert.text) is act
    assert ("the policy only alerts on hang" in alert.text) is not act
