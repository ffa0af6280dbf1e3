"""Slow rises, and what looks like one."""

from __future__ import annotations

import math
import random

from monitor.core.detectors.divergence import DivergenceConfig
from monitor.core.policy.settings import Detectors, Policy
from tests.harness.streams import Stream, calm
from trainer_hooks.wire.messages import SettingChanged


def rising(stream: Stream, draw: random.Random, factor: float, batches: int, noise: float = 0.1) -> None:
    for at in range(batches):
        stream.batch(2.0 * factor ** (at / batches) * math.exp(noise * draw.gauss(0, 1)), 3.0)


def test_a_loss_that_rises_by_half_over_a_thousand_batches_is_found_before_it_has() -> None:
    stream, draw = Stream(), random.Random(1)
    calm(stream, 2000, draw)
    rising(stream, draw, 1.5, 1000)
    (finding, *_) = stream.findings("divergence")
    assert 2000 < finding.at.count < 3000


def test_a_language_model_that_goes_from_5_2_to_6_6_is_found() -> None:
    stream, draw = Stream(), random.Random(1)
    for _ in range(2000):
        stream.batch(5.2 * math.exp(0.03 * draw.gauss(0, 1)))
    for at in range(1000):
        stream.batch((5.2 + 1.4 * at / 1000) * math.exp(0.03 * draw.gauss(0, 1)))
    assert stream.findings("divergence")


def test_it_opens_an_incident_only_where_the_policy_says_so() -> None:
    for act in (False, True):
        stream = Stream(policy=Policy(detectors=Detectors(divergence=DivergenceConfig(act=act))))
        draw = random.Random(1)
        calm(stream, 2000, draw)
        rising(stream, draw, 3.0, 1500)
        assert bool(stream.run.incidents) is act


def test_correlated_noise_is_not_a_rise() -> None:
    """An AR(1) of 0.5, on which a plain CUSUM gives 12,174 alarms per million."""
    stream, draw, x = Stream(), random.Random(1), 0.0
    for _ in range(20_000):
        x = 0.5 * x + 0.1 * draw.gauss(0, 1)
        stream.batch(2.0 * math.exp(x), 3.0)
    assert not stream.findings("divergence")


def test_a_declared_boundary_may_raise_the_loss() -> None:
    stream, draw = Stream(), random.Random(1)
    calm(stream, 2000, draw)
    stream.event(SettingChanged(0.0, 1, 1, "boundary", "stage 1", "stage 2", "declared"))
    rising(stream, draw, 1.0, 2000)
    assert not stream.found


def test_a_restart_of_the_learning_rate_may_raise_the_loss_by_half() -> None:
    stream, draw = Stream(), random.Random(1)
    for at in range(8000):
        since = at % 2000
        rate = 0.05 * (1 + math.cos(math.pi * since / 2000)) + 1e-3
        loss = 2.0 * (1.0 + 0.5 * math.exp(-since / 150) * (at >= 2000)) * math.exp(0.1 * draw.gauss(0, 1))
        stream.batch(loss, 3.0 * math.exp(0.3 * draw.gauss(0, 1)), rate=rate)
    assert not stream.found


def test_a_training_that_never_learns_is_told_once_in_a_while_and_one_that_does_is_not() -> None:
    flat, draw = Stream(), random.Random(1)
    calm(flat, 10_500, draw)
    assert flat.found == {"plateau/info": 1}
    learns = Stream()
    for at in range(10_500):
        learns.batch(2.0 * (1 + at / 1000) ** -0.1 * math.exp(0.1 * draw.gauss(0, 1)), 3.0)
    assert not learns.found


def test_a_boundary_after_which_the_loss_stays_higher_is_no_divergence_and_a_later_rise_is_one() -> None:
    stream, draw = Stream(), random.Random(1)
    calm(stream, 1000, draw)
    stream.event(SettingChanged(0.0, 0, 0, "boundary", "", "stage 2", "declared"))
    assert stream.run.settings_log[-1][1].epoch == 1
    for _ in range(3000):
        stream.batch(2.5 * draw.uniform(0.97, 1.03), 2.5)
    assert not stream.found
    for at in range(3000):
        stream.batch(2.5 * math.exp(min(at / 1000, 1.0)) * draw.uniform(0.97, 1.03), 2.5)
    assert stream.findings("divergence")
