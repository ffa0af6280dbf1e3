"""Rules on GPU memory."""

from __future__ import annotations

import math

import numpy as np

from tests.bench.peers.base import PeerRule
from tests.bench.peers.windows import Window
from trainer_hooks.wire.messages import BatchEnded, TrainingStarted

MB = 1_000_000


class GpulseLeak(PeerRule):
    """A straight line through 5 minutes of device memory, a sample a second: R^2 over 0.85 and at least 1 MB/s up.

    Or a rise of 20 % within 30 seconds: its default runs both detectors. Of the device's memory it sees here what the
    allocator holds reserved.
    """

    name = "gpulse, R^2 > 0.85 or +20 %"
    source = "gpulse.ai/docs/leak-detection and its post of 2026-02-10"
    sampled_every_s, samples, spike_samples = 1.0, 300, 30
    fit, slope_min, spike = 0.85, 1.0 * MB, 1.2

    def __init__(self) -> None:
        super().__init__()
        self._readings, self._at_s = Window(self.samples), Window(self.samples)
        self._last_s = -math.inf

    def begin(self, training: TrainingStarted | None) -> None:
        """It reads the device from outside: nothing is forgotten."""

    def on_batch(self, batch: BatchEnded) -> bool:
        held = batch.memory_allocated if batch.memory_reserved is None else batch.memory_reserved
        if held is None or batch.wall_s - self._last_s < self.sampled_every_s:
            return False
        self._last_s = batch.wall_s
        self._readings.add(float(held))
        self._at_s.add(batch.wall_s)
        return self._rises() or (self._readings.full and self._leaks())

    def _rises(self) -> bool:
        recent = self._readings.in_order()[-self.spike_samples :]
        return len(recent) == self.spike_samples and recent[-1] > self.spike * recent[0]

    def _leaks(self) -> bool:
        at, held = self._at_s.values, self._readings.values
        at, held = at - at.mean(), held - held.mean()
        total, spread = float(held @ held), float(at @ at)
        if total == 0.0 or spread == 0.0:
            return False
        along = float(at @ held)
        return along / spread >= self.slope_min and along * along / (spread * total) > self.fit


class StormlogLeak(PeerRule):
    """At least 10 % of the calls leave more allocated than they found, and together at least 100 MB more.

    A call is a batch; the last 1,000 of them are judged, from 100 on, since no window is published.
    """

    name = "stormlog leak, 100 MB"
    source = "stormlog's documentation of its leak heuristics"
    share, growth, window, least = 0.10, 100 * MB, 1000, 100

    def begin(self, training: TrainingStarted | None) -> None:
        del training
        self._before: int | None = None
        self._grown = Window(self.window)

    def on_batch(self, batch: BatchEnded) -> bool:
        now = batch.memory_allocated
        if now is None:
            return False
        before, self._before = self._before, now
        if before is None:
            return False
        self._grown.add(float(now - before))
        grown = self._grown.values
        if len(grown) < self.least:
            return False
        return bool(np.count_nonzero(grown > 0) >= self.share * len(grown) and grown.sum() >= self.growth)
