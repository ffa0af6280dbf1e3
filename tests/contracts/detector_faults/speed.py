"""Slow batches, and none."""

from __future__ import annotations

import random

from tests.contracts.detector_faults import fault_of
from tests.harness.streams import Stream, calm
from trainer_hooks.wire.messages import PhaseChanged


@fault_of("step_time")
def slower(stream: Stream, draw: random.Random) -> None:
    calm(stream, 200, draw, took_s=0.2)


@fault_of("data_wait")
def waits(stream: Stream, draw: random.Random) -> None:
    calm(stream, 200, draw, wait_s=0.08)


@fault_of("throughput")
def slower_by_a_tenth(stream: Stream, draw: random.Random) -> None:
    calm(stream, 800, draw, took_s=0.12)


@fault_of("hang")
def silence(stream: Stream, draw: random.Random) -> None:
    stream.event(PhaseChanged(0.0, 1, "train"))
    calm(stream, 5, draw)
    for _ in range(40):
        stream.tick(2.0)


@fault_of("deadline")
def too_late(stream: Stream, draw: random.Random) -> None:
    calm(stream, 600, draw, took_s=100.0)
