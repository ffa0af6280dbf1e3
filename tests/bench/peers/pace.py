"""Rules on the time that a step takes."""

from __future__ import annotations

import math
from statistics import median

from tests.bench.peers.base import PeerRule
from tests.bench.peers.windows import Window
from trainer_hooks.wire.messages import BatchEnded, Event, PhaseChanged, TrainingStarted

REPORT_EVERY_S = 300.0  # NVRx' callback gathers and reports this often
STRAGGLER_SCORE = 0.75
TIMES_MAX = 20_000  # of one report


class Eroica(PeerRule):
    """The mean of the last 50 iterations is 5 % over the best such mean, or one takes 5 times the average.

    What is not an iteration, a validation or a save that the trainer declares, is not held against it.
    """

    name = "EROICA, 50 iterations 5 % over the best"
    source = "EROICA, NSDI'26: the trigger of its profiling"
    window, slower, elapsed_ratio = 50, 1.05, 5.0

    def begin(self, training: TrainingStarted | None) -> None:
        del training
        self._times = Window(self.window)
        self._best_s = math.inf
        self._iterating = True

    def on_event(self, event: Event) -> bool:
        if isinstance(event, PhaseChanged):
            self._iterating = event.phase in ("train", "idle")
        return super().on_event(event)

    def on_batch(self, batch: BatchEnded) -> bool:
        if batch.batch_s is None:
            return False
        stalled = self._times.full and batch.batch_s >= self.elapsed_ratio * self._times.mean()
        self._times.add(batch.batch_s)
        if not self._times.full:
            return False
        mean_s = self._times.mean()
        self._best_s = min(self._best_s, mean_s)
        return stalled or mean_s > self.slower * self._best_s

    def on_silence(self, waited_s: float) -> bool:
        return self._iterating and self._times.full and waited_s >= self.elapsed_ratio * self._times.mean()


class NvrxStraggler(PeerRule):
    """The individual score of a rank, best median step time over the present one, is below 0.75 in a report.

    Relative scores need the other ranks, whose records a rule of one rank does not see.
    """

    name = "NVRx straggler, individual score"
    source = "NVIDIA/nvidia-resiliency-ext, docs/source/straggler_det/usage_guide.rst"

    def begin(self, training: TrainingStarted | None) -> None:
        del training
        self._times: list[float] = []
        self._since_s = math.nan
        self._best_s = math.inf

    def on_batch(self, batch: BatchEnded) -> bool:
        if batch.batch_s is None:
            return False
        if math.isnan(self._since_s):
            self._since_s = batch.wall_s
        if len(self._times) < TIMES_MAX:
            self._times.append(batch.batch_s)
        if batch.wall_s - self._since_s < REPORT_EVERY_S:
            return False
        now_s = median(self._times)
        self._times, self._since_s = [], batch.wall_s
        self._best_s = min(self._best_s, now_s)
        return self._best_s / now_s < STRAGGLER_SCORE
