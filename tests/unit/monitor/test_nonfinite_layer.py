"""Where a NaN was first seen: the rank and the tensor, in the timeline and in the alert of the incident."""

from __future__ import annotations

import math
import random

from monitor.core.model import Severity
from tests.harness.simulation import Simulation, calm
from trainer_hooks.wire.messages import NonfiniteSeen

TENSOR = "model.22.cv3.0.0.bn.running_var"


def bad_batch(training: Simulation, first_bad: str, rank: int = 0) -> None:
    training.batch(math.nan, 3.0, rank=rank)
    count = training.counts[rank].batches
    training.send(NonfiniteSeen(0.0, 1, count - 1, 1, math.nan, (), 3.0, True, ("a.jpg",), False, first_bad), rank)


def test_the_rank_and_the_tensor_are_named_once_a_spell() -> None:
    training, draw = Simulation(), random.Random(1)
    for rank in (0, 1):
        training.batch(2.0, 3.0, rank=rank)
    calm(training, 50, draw)
    bad_batch(training, TENSOR, rank=1)
    bad_batch(training, TENSOR, rank=1)
    (finding,) = training.findings("nonfinite_layer")
    assert (finding.severity, finding.rank, finding.signal) == (Severity.INFO, 1, TENSOR)
    assert finding.summary == f"rank 1: the first non-finite tensor is {TENSOR}, and was restored"
    assert (finding.at.epoch, finding.at.batch) == (1, 1)


def test_where_the_hooks_looked_at_no_tensor_nothing_is_said_of_one() -> None:
    training, draw = Simulation(), random.Random(1)
    calm(training, 50, draw)
    bad_batch(training, "")
    assert not training.findings("nonfinite_layer")


def test_the_alert_of_the_incident_names_the_tensor() -> None:
    training, draw = Simulation(), random.Random(1)
    calm(training, 50, draw)
    for _ in range(3):
        bad_batch(training, TENSOR)
    (alert,) = [alert for alert in training.alerts if alert.kind == "incident_opened"]
    assert f"The first non-finite tensor: {TENSOR}." in alert.text
