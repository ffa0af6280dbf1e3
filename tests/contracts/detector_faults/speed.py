"""Slow batches, and none."""

from __future__ import annotations

import random

from tests.contracts.detector_faults import fault_of
from tests.harness.simulation import Simulation, calm
from trainer_hooks.wire.messages import PhaseChanged


@fault_of("step_time")
def slower(training: Simulation, draw: random.Random) -> None:
    calm(training, 200, draw, took_s=0.2)


@fault_of("data_wait")
def waits(training: Simulation, draw: random.Random) -> None:
    calm(training, 200, draw, wait_s=0.08)


@fault_of("throughput")
def slower_by_a_tenth(training: Simulation, draw: random.Random) -> None:
    calm(training, 800, draw, took_s=0.12)


@fault_of("hang")
def silence(training: Simulation, draw: random.Random) -> None:
    training.send(PhaseChanged(0.0, 1, "train"))
    calm(training, 5, draw)
    for _ in range(40):
        training.tick(2.0)


@fault_of("deadline")
def too_late(training: Simulation, draw: random.Random) -> None:
    calm(training, 600, draw, took_s=100.0)
