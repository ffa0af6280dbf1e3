"""Where the memory went: at once, or bit by bit."""

from __future__ import annotations

import math
import random

from monitor.model import Severity
from monitor.policy.settings import Detectors, MemoryLeak, Policy
from tests.harness.streams import Stream, calm

GIB = 1 << 30


def test_the_half_gigabyte_of_the_night_is_told_within_five_batches() -> None:
    stream, draw = Stream(), random.Random(1)
    calm(stream, 1000, draw, reserved=int(4.20 * GIB))
    calm(stream, 40, draw, reserved=int(4.71 * GIB))
    (finding,) = stream.findings("memory_step")
    assert (finding.severity, finding.at.count, finding.since.count) == (Severity.INFO, 1005, 1001)
    assert "from 4301 to 4823 MiB" in finding.summary


def test_one_large_batch_and_small_growth_are_silent() -> None:
    stream, draw = Stream(), random.Random(1)
    calm(stream, 1000, draw, reserved=4 * GIB)
    calm(stream, 1, draw, reserved=6 * GIB)
    calm(stream, 500, draw, reserved=4 * GIB)
    calm(stream, 500, draw, reserved=int(4.04 * GIB))
    assert not stream.found


def grow(stream: Stream, draw: random.Random, batches: int, per_batch: float) -> None:
    for at in range(batches):
        noise = 2e6 * draw.random()
        stream.batch(2.0 * math.exp(0.1 * draw.gauss(0, 1)), 3.0, allocated=int(3 * GIB + per_batch * at + noise))


def test_a_leak_is_told_with_the_time_that_is_left() -> None:
    policy = Policy(detectors=Detectors(memory_leak=MemoryLeak(capacity_bytes=24 * GIB)))
    stream, draw = Stream(policy=policy), random.Random(1)
    grow(stream, draw, 4000, per_batch=100_000.0)
    finding = stream.findings("memory_leak")[0]
    assert 95_000 < finding.value < 105_000
    assert "out of memory in 22" in finding.summary
    assert finding.summary.endswith("h")


def test_memory_that_grows_to_a_level_and_stays_is_no_leak() -> None:
    stream, draw = Stream(), random.Random(1)
    for at in range(12_000):
        allocated = int(3 * GIB + 1 * GIB * (1 - math.exp(-at / 600)) + 2e6 * draw.random())
        stream.batch(2.0 * math.exp(0.1 * draw.gauss(0, 1)), 3.0, allocated=allocated)
    assert not stream.findings("memory_leak")
