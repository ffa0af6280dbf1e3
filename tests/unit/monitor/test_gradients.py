"""Gradient norms that explode or vanish, and the scale that hides it."""

from __future__ import annotations

import math
import random

import pytest

from monitor.core.detectors.gradient_explosion import GradientExplosionConfig
from monitor.core.model import Finding, Severity
from monitor.core.policy.settings import Detectors, Policy
from tests.harness.simulation import Simulation, calm

BLOOM = [  # iterations 31,215 to 31,222, as multiples of the one before them (loss, norm)
    (1.01, 3.9), (1.18, 9.9), (1.02, 65.6), (1.07, 600.0), (2.32, 3968.0), (1.59, 1460.0), (1.4, 2000.0),
    (1.28, 2687.0),
]  # fmt: skip


def after_calm(policy: Policy | None = None) -> tuple[Simulation, random.Random]:
    training, draw = Simulation(policy=policy or Policy()), random.Random(1)
    calm(training, 2000, draw)
    return training, draw


def test_the_printed_spike_of_bloom_is_told_two_batches_before_its_peak_and_nothing_is_done() -> None:
    training, draw = after_calm(Policy(detectors=Detectors(gradient_explosion=GradientExplosionConfig(act=True))))
    for loss, norm in BLOOM:
        training.batch(2.0 * loss, 3.0 * norm)
    first = training.findings("gradient_explosion")[0]
    assert (first.severity, first.at.count - 2000, first.since.count - 2000) == (Severity.INFO, 3, 2)
    for at in range(24):
        training.batch(2.0 * (1.2 - 0.008 * at), 3.0 * math.exp(7 - 0.28 * at))
    calm(training, 1000, draw)
    assert not training.run.training.ledger.incidents


def test_with_the_little_noise_of_a_large_batch_it_is_told_three_batches_before_its_peak() -> None:
    """Iteration 31,216, at 9.9 times the norm; the peak is 31,219."""
    training, draw = Simulation(), random.Random(1)
    for _ in range(2000):
        training.batch(2.0 * math.exp(0.02 * draw.gauss(0, 1)), 3.0 * math.exp(0.1 * draw.gauss(0, 1)))
    for loss, norm in BLOOM:
        training.batch(2.0 * loss, 3.0 * norm)
    first = training.findings("gradient_explosion")[0]
    assert first.at.count - 2000 == 2
    assert not training.run.training.ledger.incidents


def test_a_norm_that_stays_high_opens_an_incident_where_it_may() -> None:
    training, draw = after_calm(Policy(detectors=Detectors(gradient_explosion=GradientExplosionConfig(act=True))))
    calm(training, 10, draw)
    for _ in range(60):
        training.batch(2.0, 300.0)
    (incident,) = training.run.training.ledger.incidents
    assert (incident.family, incident.onset.count, incident.opened_at.count) == ("gradient", 2011, 2060)


def test_a_norm_that_takes_its_level_along_as_it_climbs_is_told_within_a_hundred_steps() -> None:
    """A loss whose sign was flipped: 6 % a step is never a jump, and ends at infinity."""
    training, draw = after_calm()
    for at in range(200):
        training.batch(2.0, 3.0 * math.exp(0.06 * at + 0.2 * draw.gauss(0, 1)))
    told = [f for f in training.findings("gradient_explosion") if f.severity is Severity.WARNING]
    assert told
    assert told[0].at.count - 2000 <= 100
    assert 1990 <= told[0].since.count <= 2040


def test_a_norm_that_triples_over_thousands_of_steps_is_none() -> None:
    training, draw = after_calm()
    for at in range(4000):
        training.batch(2.0, 3.0 * math.exp(math.log(3.0) * min(at / 2000, 1.0) + 0.2 * draw.gauss(0, 1)))
    assert not training.findings("gradient_explosion")


def test_batches_without_an_optimizer_step_neither_hide_nor_repeat_an_explosion() -> None:
    training, draw = after_calm()
    for _ in range(10):
        training.batch(2.0, 300.0)
        training.batch(2.0, None)
        training.batch(2.0, None)
    assert sum(n for key, n in training.found.items() if key.startswith("gradient_explosion")) == 1
    assert draw.random() < 1.0


def test_a_norm_a_thousand_times_below_its_level_is_a_warning_after_twenty_steps() -> None:
    training, _ = after_calm()
    for _ in range(30):
        training.batch(2.0, 1e-5)
    (finding,) = training.findings("gradient_vanishing")
    assert (finding.severity, finding.at.count, finding.since.count) == (Severity.WARNING, 2020, 2001)


def test_a_norm_that_falls_as_the_model_converges_is_none() -> None:
    training, draw = after_calm()
    for at in range(6000):
        training.batch(2.0, 3.0 * 10.0 ** (-4 * at / 6000) * math.exp(0.3 * draw.gauss(0, 1)))
    assert not training.findings("gradient_vanishing")


def test_a_loss_that_becomes_exactly_zero_without_a_norm_is_a_collapse() -> None:
    """As Hugging Face prints a NaN."""
    training, _ = after_calm()
    for _ in range(30):
        training.batch(0.0, None)
    (finding,) = training.findings("collapse")
    assert finding.at.count == 2020


def test_a_low_loss_with_a_healthy_gradient_is_no_collapse() -> None:
    training, _ = after_calm()
    for _ in range(60):
        training.batch(0.001, 3.0)
    assert not training.findings("collapse")


def test_three_falls_of_the_loss_scale_within_twenty_batches_are_a_warning_dated_to_the_first() -> None:
    training, draw = Simulation(), random.Random(1)
    calm(training, 1000, draw, scale=1024.0)
    for fall in range(1, 4):
        calm(training, 3, draw, scale=1024.0 / 2**fall)
    (finding,) = training.findings("loss_scale")
    assert finding.since.count == 1001
    assert finding.at.count == 1007


def test_the_search_for_the_scale_and_single_overflows_are_silent() -> None:
    training, draw = Simulation(), random.Random(1)
    for at in range(20_000):
        found = 65536.0 / 2 ** min(at // 2, 8)
        overflow = at < 16 or at % 2000 == 0
        scale = found / 2 if at % 2000 == 0 else found
        training.batch(2.0 * math.exp(0.1 * draw.gauss(0, 1)), 3.0, scale=scale, overflow=overflow)
    assert not training.findings("loss_scale")


def held(*norms: float) -> list[Finding]:
    training = Simulation()
    for norm in norms:
        training.batch(2.0, norm)
    return training.findings("gradient_norm_held")


def test_three_norms_of_six_times_the_median_are_a_warning_dated_to_the_first() -> None:
    draw = random.Random(5)
    around = [math.exp(0.2 * draw.gauss(0, 1)) for _ in range(40)]
    (finding,) = held(*around, 6.0, 6.5, 6.0)
    assert (finding.severity, finding.since.count, finding.at.count) == (Severity.WARNING, 41, 43)
    assert finding.value == pytest.approx(6.0)
    assert not held(*around, 6.0, 6.5, 3.0), "two are not enough"
    assert not held(*around, 4.0, 4.0, 4.0), "nor is four times the median"


def test_a_short_log_has_its_norms_judged_from_the_sixteenth_on() -> None:
    assert len(held(*[1.0] * 13, 9.0, 9.0, 9.0)) == 1
    assert not held(*[1.0] * 12, 9.0, 9.0, 9.0), "of fifteen norms nothing is known"


def test_norms_whose_noise_reaches_that_far_are_silent() -> None:
    """Half of them are ten times the others: three high ones in a row are chance."""
    draw = random.Random(6)
    ordinary = [(1.0, 10.0)[at % 2] for at in range(64)]
    assert not held(*ordinary, *(draw.choice((1.0, 10.0)) for _ in range(400)))


def test_a_norm_that_is_high_for_a_known_reason_is_silent() -> None:
    training, draw = after_calm()
    training.batch(2.0, 3.0, rate=0.2)
    for _ in range(10):
        training.batch(2.0, 30.0 * math.exp(0.1 * draw.gauss(0, 1)), rate=0.2)
    assert not training.findings("gradient_norm_held"), "the learning rate rose"
