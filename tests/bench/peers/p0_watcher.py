"""The P0 watcher, a public script that looks at the logged points of running trainings, from outside."""

from __future__ import annotations

import math
from statistics import median

from tests.bench.peers.base import PeerRule, bad
from tests.bench.peers.windows import Window, robust_z
from trainer_hooks.wire.messages import BatchEnded, TrainingStarted

POINTS = 100
FIRST_JUDGED = 200  # batches: not before
Z_LOSS, Z_BOTH = 8.0, 6.0
CLIP_POINTS, CLIP_SHARE = 300, 0.05
PACE_POINTS, PACE_RATIO = 30, 1.25
SOURCE = "a training-monitor script on GitHub (p0_check.py); calibrated by its author on six healthy runs"


class P0Spike(PeerRule):
    """Not finite; or z(log loss) over 8; or z of log loss and log gradient norm both over 6.

    z is robust (median and MAD of the 100 points before) and has no sign; nothing is judged while one of those points
    is not finite.
    """

    name = "P0 watcher, loss and norm"
    source = SOURCE

    def begin(self, training: TrainingStarted | None) -> None:
        del training
        self._loss, self._norm = Window(POINTS), Window(POINTS)

    def on_batch(self, batch: BatchEnded) -> bool:
        if batch.loss is None or batch.grad_norm is None:
            return False
        if bad(batch.loss) or bad(batch.grad_norm):
            self._add(math.nan, math.nan)
            return True
        loss, norm = math.log(max(batch.loss, 1e-12)), math.log(max(batch.grad_norm, 1e-12))
        alarm = self._judges() and self._spikes(loss, norm)
        self._add(loss, norm)
        return alarm

    def _add(self, loss: float, norm: float) -> None:
        self._loss.add(loss)
        self._norm.add(norm)

    def _judges(self) -> bool:
        whole = math.isfinite(self._loss.mean()) and math.isfinite(self._norm.mean())
        return self._loss.seen >= FIRST_JUDGED and whole

    def _spikes(self, loss: float, norm: float) -> bool:
        z = robust_z(self._loss.values, loss)
        return z > Z_LOSS or (z > Z_BOTH and robust_z(self._norm.values, norm) > Z_BOTH)


class P0Clip(PeerRule):
    """More than 5 % of the last 300 gradient norms are over the limit at which they are clipped."""

    name = "P0 watcher, clipping"
    source = SOURCE

    def begin(self, training: TrainingStarted | None) -> None:
        del training
        self._over = Window(CLIP_POINTS)

    def on_batch(self, batch: BatchEnded) -> bool:
        if batch.grad_norm is None or batch.clip_norm is None:
            return False
        self._over.add(float(batch.grad_norm > batch.clip_norm))
        return self._over.full and self._over.mean() > CLIP_SHARE


class P0Slow(PeerRule):
    """The median of the last 30 step times is over 1.25 times the run's own.

    That is taken once, from what is logged when the watcher first meets the run: here the first 200 batches.
    """

    name = "P0 watcher, step time"
    source = SOURCE

    def begin(self, training: TrainingStarted | None) -> None:
        del training
        self._times = Window(FIRST_JUDGED)
        self._usual_s: float | None = None

    def on_batch(self, batch: BatchEnded) -> bool:
        if batch.batch_s is None:
            return False
        self._times.add(batch.batch_s)
        if self._usual_s is None:
            if self._times.full:
                self._usual_s = median(self._times.values.tolist())
                self._times = Window(PACE_POINTS)
            return False
        return self._times.full and median(self._times.values.tolist()) > PACE_RATIO * self._usual_s
