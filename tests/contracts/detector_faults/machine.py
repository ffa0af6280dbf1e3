"""Faults of volumes, devices and ranks."""

from __future__ import annotations

import math
import random

from monitor.core.model import GpuSeen, VolumeSeen
from tests.contracts.detector_faults import fault_of
from tests.harness.streams import Stream

GIB = 1 << 30


@fault_of("disk_space")
def disk_fills(stream: Stream, draw: random.Random) -> None:
    stream.hardware(volumes=(VolumeSeen("run folder", 1_000_000, 100 * GIB),))


@fault_of("gpu_errors")
def xid(stream: Stream, draw: random.Random) -> None:
    known = stream.run.hardware.gpus.get(0)
    times = dict(known.last.xids).get(79, 0) if known else 0
    for more in (0, 1):
        stream.hardware(gpus=(GpuSeen(0, xids=((79, times + more),)),))


@fault_of("gpu_throttling")
def throttled(stream: Stream, draw: random.Random) -> None:
    for _ in range(20):
        stream.hardware(gpus=(GpuSeen(0, throttle_bits=0x40, temperature_celsius=88),))
    for _ in range(40):
        stream.hardware(gpus=(GpuSeen(0, throttle_bits=0x4, temperature_celsius=70),))


@fault_of("rank_outlier")
def odd_rank(stream: Stream, draw: random.Random) -> None:
    for _ in range(400):
        for rank, factor in enumerate((1.0, 1.0, 1.0, 2.5)):
            stream.batch(2.0 * factor * math.exp(0.1 * draw.gauss(0, 1)), 3.0, rank=rank)
