"""Settings that jump for no known reason, drawn at random, for tests/harness/faulty_training.py."""

from __future__ import annotations

import random

from tests.harness.faulty_training import BATCHES, Batch, Fault, Life


def excursion(number: int) -> Fault:
    """Once in the life of the training the rate jumps for a few batches; the loss that it costs heals soon or never."""
    draw = random.Random(f"excursion {number}")
    share, steps = draw.uniform(0.03, 0.98), draw.choice([1, 2, 5, 20, 60])
    factor, raises = draw.choice([3.0, 20.0, 200.0]), draw.choice([0.0, 0.1, 1.0, 5.0]) * draw.random()
    heals = draw.choice([0.7, 0.9, 0.97, 0.99, 0.997, 1.0])

    def fault(life: Life) -> Batch:
        if life.once("jump", share):
            life.happened["left"] = steps
        left = life.happened.get("left", 0)
        life.happened["left"] = max(left - 1, 0)
        return Batch(raises=raises, rate=factor) if left else Batch(heals=heals)

    return fault


def restart(number: int) -> Fault:
    """The script's own restart of the rate, which comes at its place each time: the loss is higher at first."""
    draw = random.Random(f"restart {number}")
    at = round(draw.uniform(0.1, 0.8) * BATCHES)
    lasts = draw.choice([10, 100, BATCHES])
    factor, raises = draw.choice([3.0, 10.0, 100.0]), draw.choice([0.1, 0.5, 1.5])
    heals = draw.choice([0.9, 0.98, 0.995])

    def fault(life: Life) -> Batch:
        since = life.state.done - at
        return Batch(raises=raises if since == 0 else 0.0, heals=heals, rate=factor if 0 <= since < lasts else 1.0)

    return fault
