"""Marin's alerts on its large runs: evaluated outside of the training, once a minute, over windows of wall time."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from tests.bench.peers.base import PeerRule
from trainer_hooks.wire.messages import BatchEnded, TrainingStarted

EVALUATED_EVERY_S = 60.0
HOUR_S = 3600.0
RECENT_S = 300.0
BASELINE_SAMPLES_MIN, RECENT_SAMPLES_MIN = 20, 5
SIGMAS, RISE_MIN = 6.0, 0.05
JUMP = 1.0
SKIPS, SKIPS_WITHIN_S = 3, 900.0


class MarinLossSpike(PeerRule):
    """The lowest loss of 5 minutes over mean + max(0.05, 6 sigma) of the 55 before, or a loss that is not finite.

    Its loss_jump, a floor that is 1.0 above the floor of those 55 minutes, is judged with it. Windows go on over
    restarts. The published limits of gradient norm and throughput are those of one family of runs and are left out.
    """

    name = "Marin hero alert, loss"
    source = "marin-community/marin, docs/ops/training-loss-spike-alert.md and hero-run-health-alerts.md"

    def __init__(self) -> None:
        super().__init__()
        self._losses: deque[tuple[float, float]] = deque()  # of the last hour
        self._evaluated_s = -math.inf

    def begin(self, training: TrainingStarted | None) -> None:
        """It watches from outside: nothing is forgotten."""

    def on_batch(self, batch: BatchEnded) -> bool:
        now_s = batch.wall_s
        if batch.loss is not None:
            self._losses.append((now_s, batch.loss))
        if now_s - self._evaluated_s < EVALUATED_EVERY_S:
            return False
        self._evaluated_s = now_s
        while self._losses and now_s - self._losses[0][0] > HOUR_S:
            self._losses.popleft()
        return self._evaluate(now_s)

    def _evaluate(self, now_s: float) -> bool:
        samples = np.array(self._losses)
        is_recent = samples[:, 0] > now_s - RECENT_S
        baseline, recent = samples[~is_recent, 1], samples[is_recent, 1]
        if len(baseline) < BASELINE_SAMPLES_MIN or len(recent) < RECENT_SAMPLES_MIN:
            return False
        if not np.isfinite(recent).all():
            return True
        baseline = baseline[np.isfinite(baseline)]
        if len(baseline) < 2:
            return False
        band = baseline.mean() + max(RISE_MIN, SIGMAS * baseline.std(ddof=1))
        return bool(recent.min() > min(band, baseline.min() + JUMP))


class MarinSkips(PeerRule):
    """Three skipped optimizer steps within 15 minutes."""

    name = "Marin hero alert, skipped steps"
    source = "marin-community/marin, docs/ops/hero-run-health-alerts.md"

    def __init__(self) -> None:
        super().__init__()
        self._skipped_s: deque[float] = deque(maxlen=SKIPS)

    def begin(self, training: TrainingStarted | None) -> None:
        """It watches from outside: nothing is forgotten."""

    def on_batch(self, batch: BatchEnded) -> bool:
        if not batch.skipped_by:
            return False
        self._skipped_s.append(batch.wall_s)
        return len(self._skipped_s) == SKIPS and batch.wall_s - self._skipped_s[0] <= SKIPS_WITHIN_S
