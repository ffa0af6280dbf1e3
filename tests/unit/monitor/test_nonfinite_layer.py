"""Where a NaN was first seen: the rank and the tensor, in the timeline and in the alert of the incident."""

from __future__ import annotations

import math
import random

from monitor.core.model import Severity
from tests.harness.streams import Stream, calm
from trainer_hooks.wire.messages import NonfiniteSeen

TENSOR = "model.22.cv3.0.0.bn.running_var"


def bad_batch(stream: Stream, first_bad: str, rank: int = 0) -> None:
    stream.batch(math.nan, 3.0, rank=rank)
    count = stream.counts[rank].batches
    stream.event(NonfiniteSeen(0.0, 1, count - 1, 1, math.nan, (), 3.0, True, ("a.jpg",), False, first_bad), rank)


def test_the_rank_and_the_tensor_are_named_once_a_spell() -> None:
    stream, draw = Stream(), random.Random(1)
    for rank in (0, 1):
        stream.batch(2.0, 3.0, rank=rank)
    calm(stream, 50, draw)
    bad_batch(stream, TENSOR, rank=1)
    bad_batch(stream, TENSOR, rank=1)
    (finding,) = stream.findings("nonfinite_layer")
    assert (finding.severity, finding.rank, finding.signal) == (Severity.INFO, 1, TENSOR)
    assert finding.summary == f"epoch 1, batch 1, rank 1: the first non-finite tensor is {TENSOR}, and was restored"


def test_where_the_hooks_looked_at_no_tensor_nothing_is_said_of_one() -> None:
    stream, draw = Stream(), random.Random(1)
    calm(stream, 50, draw)
    bad_batch(stream, "")
    assert not stream.findings("nonfinite_layer")


def test_the_alert_of_the_incident_names_the_tensor() -> None:
    stream, draw = Stream(), random.Random(1)
    calm(stream, 50, draw)
    for _ in range(3):
        bad_batch(stream, TENSOR)
    (alert,) = [alert for alert in stream.alerts if alert.kind == "incident_opened"]
    assert f"The first non-finite tensor: {TENSOR}." in alert.text
