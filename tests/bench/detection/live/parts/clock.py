"""The time that a live training tells. What the machine does beside it is no part of the training.

Batches of a millisecond on a machine that others use too take three times as long at times, and a detector that says so
is right. Where a fault is not about time, the recorded stream therefore has the processor time of the child in place of
the time that the hooks read; where it is, the training is paced by sleeping and nothing is replaced.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.bench.detection.live.experiment import Experiment

Clock = Callable[[], float]  # seconds, as Unix time at the start of the training


def clock_of(experiment: Experiment) -> Clock:
    """The clock of an experiment, from now on."""
    if experiment.on_the_wall:
        return time.time
    began_s, worked_s = time.time(), time.process_time()
    return lambda: began_s + time.process_time() - worked_s
