"""Faults of the loss."""

from __future__ import annotations

import math
import random

from tests.contracts.detector_faults import fault_of
from tests.harness.simulation import Simulation, calm
from trainer_hooks.wire.messages import SettingChanged


@fault_of("loss_spike")
def spike(training: Simulation, draw: random.Random) -> None:
    for _ in range(60):
        training.batch(20.0 * math.exp(0.1 * draw.gauss(0, 1)), 3.0)


@fault_of("divergence")
def rise(training: Simulation, draw: random.Random) -> None:
    for at in range(1200):
        training.batch(2.0 * 3.0 ** (at / 1200) * math.exp(0.1 * draw.gauss(0, 1)), 3.0)


@fault_of("setting_damage")
def five_steps_at_a_high_rate(training: Simulation, draw: random.Random) -> None:
    """The loss, which has a level before, falls again, so that no spike stands, and ends at 1.8 times what it was."""
    calm(training, 100, draw)
    for at in range(200):
        rate = 20.0 if at < 5 else 0.1
        loss = 2.0 * (1.8 + 11.0 * 0.98**at) * math.exp(0.05 * draw.gauss(0, 1))
        training.batch(loss, 3.0, rate=rate)
        if at in (0, 5):
            old, reason = (0.1, "") if at == 0 else (20.0, "lowered by the training")
            training.send(SettingChanged(0.0, 1, at, "learning_rate/all", str(old), str(rate), reason))


@fault_of("collapse")
def nothing_left(training: Simulation, draw: random.Random) -> None:
    for _ in range(40):
        training.batch(1e-5 * math.exp(0.1 * draw.gauss(0, 1)), 1e-4)


@fault_of("plateau")
def never_learns(training: Simulation, draw: random.Random) -> None:
    calm(training, 3000, draw)


@fault_of("loss_held_high")
def three_high(training: Simulation, draw: random.Random) -> None:
    for _ in range(8):
        training.batch(20.0 * math.exp(0.1 * draw.gauss(0, 1)), 3.0)


@fault_of("loss_shift")
def new_level(training: Simulation, draw: random.Random) -> None:
    for _ in range(12):
        training.batch(4.0 * math.exp(0.1 * draw.gauss(0, 1)), 3.0)


@fault_of("loss_huge")
def orders_of_magnitude(training: Simulation, draw: random.Random) -> None:
    training.batch(1e9 * math.exp(0.1 * draw.gauss(0, 1)), 3.0)


@fault_of("loss_early_rise")
def rises_without_a_fall(training: Simulation, draw: random.Random) -> None:
    for at in range(400):
        training.batch(2.0 * 1.02**at * math.exp(0.1 * draw.gauss(0, 1)), 3.0)


@fault_of("loss_at_chance")
def guesses(training: Simulation, draw: random.Random) -> None:
    """A training of its own: the loss must have been there from the first batch on."""
    training.settings = {"num_classes": "10"}
    training.restart()
    for _ in range(640):
        training.batch(math.log(10.0) * math.exp(0.01 * draw.gauss(0, 1)), 3.0)
