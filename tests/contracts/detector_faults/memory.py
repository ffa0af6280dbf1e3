"""Memory of the device and of the host."""

from __future__ import annotations

import math
import random

from monitor.core.model import GpuSeen, HostSeen
from tests.contracts.detector_faults import fault_of
from tests.harness.streams import Stream, calm

GIB = 1 << 30


@fault_of("memory_step")
def memory_jumps(stream: Stream, draw: random.Random) -> None:
    calm(stream, 400, draw, reserved=4 * GIB)
    calm(stream, 30, draw, reserved=5 * GIB)


@fault_of("memory_leak")
def memory_leaks(stream: Stream, draw: random.Random) -> None:
    for at in range(4000):
        stream.batch(2.0 * math.exp(0.1 * draw.gauss(0, 1)), 3.0, allocated=3 * GIB + at * 300_000)


@fault_of("gpu_fragmentation")
def fragmented(stream: Stream, draw: random.Random) -> None:
    stream.hardware(gpus=(GpuSeen(0, memory_total=10 * GIB),))
    calm(stream, 700, draw, reserved=9 * GIB, memory_peak=5 * GIB)


@fault_of("alloc_retries")
def retries(stream: Stream, draw: random.Random) -> None:
    for at in range(8):
        calm(stream, 5, draw, reserved=4 * GIB, alloc_retries=at)


@fault_of("host_memory")
def host_short(stream: Stream, draw: random.Random) -> None:
    stream.hardware(host=HostSeen(1 * GIB, 64 * GIB, 60 * GIB))
