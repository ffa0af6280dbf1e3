"""Where the memory went: at once, or bit by bit."""

from __future__ import annotations

import math
import random

from monitor.core.detectors.memory_leak import MemoryLeakConfig
from monitor.core.model import GpuSeen, Severity
from monitor.core.policy.settings import Detectors, Policy
from tests.harness.streams import Stream, calm
from trainer_hooks.wire.messages import EpochEnded

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
    policy = Policy(detectors=Detectors(memory_leak=MemoryLeakConfig(capacity_bytes=24 * GIB)))
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


def test_the_time_that_is_left_comes_from_the_device_where_it_tells_its_size() -> None:
    stream, draw = Stream(), random.Random(1)
    stream.hardware(gpus=(GpuSeen(0, memory_total=4 * GIB),))
    grow(stream, draw, 3500, per_batch=100_000.0)
    assert "out of memory in 7" in stream.findings("memory_leak")[0].summary  # (4 GiB - 3 GiB - 0.35 GB) / 100 kB


def test_what_the_first_validation_took_is_no_step_and_what_a_later_batch_takes_is_one() -> None:
    stream, draw = Stream(batches_per_epoch=1000), random.Random(1)
    calm(stream, 1000, draw, reserved=4 * GIB)
    stream.event(EpochEnded(0.0, 1, 1.0, (), {}, None))
    calm(stream, 1000, draw, reserved=5 * GIB)
    assert not stream.found
    stream.event(EpochEnded(0.0, 2, 1.0, (), {}, None))
    calm(stream, 50, draw, reserved=6 * GIB)
    assert stream.found == {"memory_step/info": 1}


def fragmented(share: float, capacity: int | None, reserved: int = 9 * GIB) -> Stream:
    stream, draw = Stream(), random.Random(1)
    if capacity:
        stream.hardware(gpus=(GpuSeen(0, memory_total=capacity),))
    for at in range(1200):
        peak = int(reserved * (1.0 - share)) if at % 3 else 2 * GIB  # a trainer that resets its peak
        stream.batch(2.0 * math.exp(0.1 * draw.gauss(0, 1)), 3.0, reserved=reserved, memory_peak=peak)
    return stream


def test_fragmentation_is_a_warning_where_the_device_is_nearly_full_and_silent_elsewhere() -> None:
    (finding,) = fragmented(0.4, 10 * GIB).findings("gpu_fragmentation")
    assert finding.severity is Severity.WARNING
    assert "9216 MiB are reserved of 10240, and 3686 of them were never in use at once" in finding.summary
    for share, capacity in ((0.2, 10 * GIB), (0.4, 24 * GIB), (0.4, None)):
        assert not fragmented(share, capacity).found


def test_retries_of_the_allocator_are_a_warning_and_one_for_the_longest_batch_is_none() -> None:
    stream, draw = Stream(), random.Random(1)
    for retries in (4, 5, 5, 5, 6):  # four of a training before it in the same process
        calm(stream, 600, draw, reserved=4 * GIB, alloc_retries=retries)
    assert not stream.found
    for retries in range(7, 12):
        calm(stream, 100, draw, reserved=4 * GIB, alloc_retries=retries)
    assert stream.found == {"alloc_retries/warning": 1}
    assert stream.findings("alloc_retries")[0].since.count == 3001
