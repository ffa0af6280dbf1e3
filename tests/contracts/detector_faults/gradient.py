"""Faults of the gradient, its scale and the step."""

from __future__ import annotations

import math
import random

from tests.contracts.detector_faults import fault_of
from tests.harness.simulation import Simulation, calm


@fault_of("gradient_explosion")
def explosion(training: Simulation, draw: random.Random) -> None:
    for _ in range(60):
        training.batch(2.0, 3000.0 * math.exp(0.1 * draw.gauss(0, 1)))


@fault_of("gradient_vanishing")
def vanishing(training: Simulation, draw: random.Random) -> None:
    for _ in range(40):
        training.batch(2.0, 1e-5 * math.exp(0.1 * draw.gauss(0, 1)))


@fault_of("loss_scale")
def scale_falls(training: Simulation, draw: random.Random) -> None:
    calm(training, 300, draw, scale=65536.0)
    for at in range(6):
        training.batch(2.0, 3.0, scale=65536.0 / 2**at, overflow=True)


@fault_of("update_ratio")
def frozen(training: Simulation, draw: random.Random) -> None:
    for _ in range(8):
        calm(training, 100, draw)
        training.batch(2.0, 3.0, update_ratio=1e-12)


@fault_of("overflows")
def overflows(training: Simulation, draw: random.Random) -> None:
    """In half precision every step overflows."""
    calm(training, 300, draw, scale=65536.0)
    for halvings in range(20):
        training.batch(2.0, None, overflow=True, scale=65536.0 / 2.0**halvings)


@fault_of("gradient_norm_bad")
def norm_is_nan(training: Simulation, draw: random.Random) -> None:
    """As in a log whose writer says that the norm is not finite, and nothing else."""
    usual = {"took_s": 0.1, "cured": False, "learning_rates": (0.1,), "batch_size": 16, "batch_s": 0.1}
    for _ in range(6):
        training._batch(0, 0, loss=2.0 + 0.1 * draw.random(), grad_norm=math.nan, **usual)


@fault_of("gradient_norm_held")
def norm_is_held_high(training: Simulation, draw: random.Random) -> None:
    for _ in range(5):
        training.batch(2.0, 30.0 * math.exp(0.1 * draw.gauss(0, 1)))
