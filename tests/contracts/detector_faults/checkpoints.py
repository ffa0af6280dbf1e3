"""Checkpoints that are damaged or missing."""

from __future__ import annotations

import random

from monitor.core.model import Verdict
from tests.contracts.detector_faults import fault_of
from tests.harness.simulation import Simulation, calm


@fault_of("checkpoint_verdict")
@fault_of("checkpoint_retention")
def poisoned_checkpoints(training: Simulation, draw: random.Random) -> None:
    for _ in range(2):
        training.checkpoint(str(draw.random()), Verdict.POISONED)
        calm(training, 50, draw)


@fault_of("checkpoint_age")
def never_saved_again(training: Simulation, draw: random.Random) -> None:
    for _ in range(3):
        training.checkpoint(str(draw.random()))
        calm(training, 200, draw)
    calm(training, 8000, draw)
