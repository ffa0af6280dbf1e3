"""Where the memory went: at once, or bit by bit."""

from __future__ import annotations

import math
import random
import re

import pytest

from monitor.core.detectors.memory_leak import MemoryLeakConfig
from monitor.core.diagnosis.evidence.memory import rise_text
from monitor.core.model import GpuSeen, Position, Severity
from monitor.core.policy.settings import Detectors, Policy
from monitor.core.state.allocator import GAP_READINGS, GAP_STRIDE, Allocator, take_allocator
from monitor.core.state.trace import MemoryRise, Shape
from tests.harness.simulation import Simulation, calm
from trainer_hooks.wire.messages import BatchEnded, Counts, EpochEnded

GIB = 1 << 30


def test_the_half_gigabyte_of_the_night_is_told_within_five_batches() -> None:
    training, draw = Simulation(), random.Random(1)
    calm(training, 1000, draw, reserved=int(4.20 * GIB))
    calm(training, 40, draw, reserved=int(4.71 * GIB))
    (finding,) = training.findings("memory_step")
    assert (finding.severity, finding.at.count, finding.since.count) == (Severity.INFO, 1005, 1001)
    assert "from 4301 to 4823 MiB" in finding.summary


def test_one_large_batch_and_small_growth_are_silent() -> None:
    training, draw = Simulation(), random.Random(1)
    calm(training, 1000, draw, reserved=4 * GIB)
    calm(training, 1, draw, reserved=6 * GIB)
    calm(training, 500, draw, reserved=4 * GIB)
    calm(training, 500, draw, reserved=int(4.04 * GIB))
    assert not training.found


def grow(training: Simulation, draw: random.Random, batches: int, per_batch: float) -> None:
    for at in range(batches):
        noise = 2e6 * draw.random()
        training.batch(2.0 * math.exp(0.1 * draw.gauss(0, 1)), 3.0, allocated=int(3 * GIB + per_batch * at + noise))


def test_a_leak_is_told_with_the_time_that_is_left() -> None:
    policy = Policy(detectors=Detectors(memory_leak=MemoryLeakConfig(capacity_bytes=24 * GIB)))
    training, draw = Simulation(policy=policy), random.Random(1)
    grow(training, draw, 4000, per_batch=100_000.0)
    finding = training.findings("memory_leak")[0]
    assert 95_000 < finding.value < 105_000
    assert "out of memory in 22" in finding.summary
    assert re.search(r"out of memory in [0-9,]+ batches, \d+ h \d+ min$", finding.summary)


def test_memory_that_grows_to_a_level_and_stays_is_no_leak() -> None:
    training, draw = Simulation(), random.Random(1)
    for at in range(12_000):
        allocated = int(3 * GIB + 1 * GIB * (1 - math.exp(-at / 600)) + 2e6 * draw.random())
        training.batch(2.0 * math.exp(0.1 * draw.gauss(0, 1)), 3.0, allocated=allocated)
    assert not training.findings("memory_leak")


def test_the_time_that_is_left_comes_from_the_device_where_it_tells_its_size() -> None:
    training, draw = Simulation(), random.Random(1)
    training.hardware(gpus=(GpuSeen(0, memory_total=4 * GIB),))
    grow(training, draw, 3500, per_batch=100_000.0)
    assert "out of memory in 7" in training.findings("memory_leak")[0].summary  # (4 GiB - 3 GiB - 0.35 GB) / 100 kB


def test_what_the_first_validation_took_is_no_step_and_what_a_later_batch_takes_is_one() -> None:
    training, draw = Simulation(batches_per_epoch=1000), random.Random(1)
    calm(training, 1000, draw, reserved=4 * GIB)
    training.send(EpochEnded(0.0, 1, 1.0, (), {}, None))
    calm(training, 1000, draw, reserved=5 * GIB)
    assert not training.found
    training.send(EpochEnded(0.0, 2, 1.0, (), {}, None))
    calm(training, 50, draw, reserved=6 * GIB)
    assert training.found == {"memory_step/info": 1}


def fragmented(share: float, capacity: int | None, reserved: int = 9 * GIB) -> Simulation:
    training, draw = Simulation(), random.Random(1)
    if capacity:
        training.hardware(gpus=(GpuSeen(0, memory_total=capacity),))
    for at in range(1200):
        peak = int(reserved * (1.0 - share)) if at % 3 else 2 * GIB  # a trainer that resets its peak
        training.batch(2.0 * math.exp(0.1 * draw.gauss(0, 1)), 3.0, reserved=reserved, memory_peak=peak)
    return training


def test_fragmentation_is_a_warning_where_the_device_is_nearly_full_and_silent_elsewhere() -> None:
    (finding,) = fragmented(0.4, 10 * GIB).findings("gpu_fragmentation")
    assert finding.severity is Severity.WARNING
    assert "9216 MiB are reserved of 10240, and 3686 of them were never in use at once" in finding.summary
    for share, capacity in ((0.2, 10 * GIB), (0.4, 24 * GIB), (0.4, None)):
        assert not fragmented(share, capacity).found


def test_retries_of_the_allocator_are_a_warning_and_one_for_the_longest_batch_is_none() -> None:
    training, draw = Simulation(), random.Random(1)
    for retries in (4, 5, 5, 5, 6):  # four of a training before it in the same process
        calm(training, 600, draw, reserved=4 * GIB, alloc_retries=retries)
    assert not training.found
    for retries in range(7, 12):
        calm(training, 100, draw, reserved=4 * GIB, alloc_retries=retries)
    assert training.found == {"alloc_retries/warning": 1}
    assert training.findings("alloc_retries")[0].since.count == 3001


def test_a_rise_of_memory_is_told_in_mebibytes() -> None:
    at = Position(1, 4, 31, 100)
    rise = MemoryRise(at, "train", 4096 * 1024 * 1024, 4608 * 1024 * 1024, None, None, None, Shape(), Shape())
    assert rise_text(rise).startswith("reserved memory went from 4,096 to 4,608 MiB at ")


def test_the_gap_of_an_allocator_is_the_mean_of_its_first_readings_and_then_follows_slowly() -> None:
    allocator, shares = Allocator(), [0.4, 0.8, 0.6]
    for number in range(len(shares) * GAP_STRIDE):
        share = shares[number // GAP_STRIDE]
        take_allocator(allocator, _reserving(number + 1, 1000.0, share))
    assert allocator.gap == pytest.approx(sum(shares) / len(shares), abs=1e-3)
    for number in range(100 * GAP_STRIDE):
        take_allocator(allocator, _reserving(number + 100, 1000.0, 0.5))
    before = allocator.gap
    for number in range(GAP_STRIDE):
        take_allocator(allocator, _reserving(number + 9999, 1000.0, 0.9))
    assert allocator.gap - before == pytest.approx(0.4 / GAP_READINGS, abs=1e-3)


def _reserving(count: int, peak: float, gap: float) -> BatchEnded:
    """A batch whose allocator holds back that share of what it reserves."""
    reserved = round(peak / (1.0 - gap))
    return BatchEnded(
        0.0, 0.0, 1, count, 9999, Counts(batches=count), memory_reserved=reserved, memory_peak=round(peak)
    )
