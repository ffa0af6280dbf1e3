"""A detector that is not asked had nothing to say: the bits of a batch hide no finding."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from monitor.core.detectors import load_all
from monitor.core.engine import Core, snapshot
from monitor.core.state.occasions import MEMORY, NORM, SCALE, TIME, UPDATE
from tests.contracts.detector_faults import every_fault
from tests.harness.simulated_run import START_S
from tests.harness.simulation import Simulation, calm

CARRIED = NORM | TIME | MEMORY | SCALE | UPDATE
FAULTS = every_fault()


def asked_at_every_batch() -> Core:
    """A core whose detectors are asked wherever a batch carries what they read."""
    detectors = {
        name: replace(one, needs=lambda config, needs=one.needs: needs(config) & CARRIED)
        for name, one in load_all().items()
    }
    return Core(detectors=detectors)


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_every_finding_is_the_same_where_every_detector_is_asked_at_every_batch(name: str) -> None:
    training = Simulation(deadline_s=START_S + 3600.0 if name == "deadline" else None)
    calm(training, 1500, random.Random(1))
    FAULTS[name](training, random.Random(3))
    calm(training, 300, random.Random(5))
    seldom, always = Core(), asked_at_every_batch()
    for entry in training.entries:
        assert seldom.feed(entry) == always.feed(entry)
    assert snapshot(seldom) == snapshot(always)
