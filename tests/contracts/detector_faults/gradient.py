"""Faults of the gradient, its scale and the step."""

from __future__ import annotations

import math
import random

from tests.contracts.detector_faults import fault_of
from tests.harness.streams import Stream, calm


@fault_of("gradient_explosion")
def explosion(stream: Stream, draw: random.Random) -> None:
    for _ in range(60):
        stream.batch(2.0, 3000.0 * math.exp(0.1 * draw.gauss(0, 1)))


@fault_of("gradient_vanishing")
def vanishing(stream: Stream, draw: random.Random) -> None:
    for _ in range(40):
        stream.batch(2.0, 1e-5 * math.exp(0.1 * draw.gauss(0, 1)))


@fault_of("loss_scale")
def scale_falls(stream: Stream, draw: random.Random) -> None:
    calm(stream, 300, draw, scale=65536.0)
    for at in range(6):
        stream.batch(2.0, 3.0, scale=65536.0 / 2**at, overflow=True)


@fault_of("update_ratio")
def frozen(stream: Stream, draw: random.Random) -> None:
    for _ in range(8):
        calm(stream, 100, draw)
        stream.batch(2.0, 3.0, update_ratio=1e-12)
