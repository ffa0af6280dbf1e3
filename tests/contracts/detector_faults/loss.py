"""Faults of the loss."""

from __future__ import annotations

import math
import random

from tests.contracts.detector_faults import fault_of
from tests.harness.streams import Stream, calm


@fault_of("loss_spike")
def spike(stream: Stream, draw: random.Random) -> None:
    for _ in range(60):
        stream.batch(20.0 * math.exp(0.1 * draw.gauss(0, 1)), 3.0)


@fault_of("divergence")
def rise(stream: Stream, draw: random.Random) -> None:
    for at in range(1200):
        stream.batch(2.0 * 3.0 ** (at / 1200) * math.exp(0.1 * draw.gauss(0, 1)), 3.0)


@fault_of("collapse")
def nothing_left(stream: Stream, draw: random.Random) -> None:
    for _ in range(40):
        stream.batch(1e-5 * math.exp(0.1 * draw.gauss(0, 1)), 1e-4)


@fault_of("plateau")
def never_learns(stream: Stream, draw: random.Random) -> None:
    calm(stream, 3000, draw)
