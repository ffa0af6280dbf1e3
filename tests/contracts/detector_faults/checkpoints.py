"""Checkpoints that are damaged or missing."""

from __future__ import annotations

import random

from monitor.core.model import Verdict
from tests.contracts.detector_faults import fault_of
from tests.harness.streams import Stream, calm


@fault_of("checkpoint_verdict")
@fault_of("checkpoint_retention")
def poisoned_checkpoints(stream: Stream, draw: random.Random) -> None:
    for _ in range(2):
        stream.checkpoint(str(draw.random()), Verdict.POISONED)
        calm(stream, 50, draw)


@fault_of("checkpoint_age")
def never_saved_again(stream: Stream, draw: random.Random) -> None:
    for _ in range(3):
        stream.checkpoint(str(draw.random()))
        calm(stream, 200, draw)
    calm(stream, 8000, draw)
