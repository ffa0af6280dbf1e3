"""Rules of packages on PyPI that watch a training from inside, as their pages describe them.

Where a page gives a ratio and no window, the window is ours and said in the docstring.
"""

from __future__ import annotations

import math

from tests.bench.peers.base import PeerRule, bad
from tests.bench.peers.windows import Window
from trainer_hooks.wire.messages import BatchEnded, TrainingStarted


class Arc(PeerRule):
    """Loss or gradient not finite, or a loss over 10 times the mean of the last 5.

    Its other detectors need the weights or a calibration that is not published.
    """

    name = "arc-training, 10x the mean of 5"
    source = "pypi.org/project/arc-training 5.2"
    ratio = 10.0

    def begin(self, training: TrainingStarted | None) -> None:
        del training
        self._losses = Window(5)

    def on_batch(self, batch: BatchEnded) -> bool:
        if bad(batch.loss) or bad(batch.grad_norm):
            return True
        if batch.loss is None:
            return False
        alarm = self._losses.full and batch.loss > self.ratio * self._losses.mean()
        self._losses.add(batch.loss)
        return alarm


class StabilityGuard(PeerRule):
    """Loss or gradient norm not finite, or a norm over 10 times its exponential mean.

    It looks at each layer, here at all of them together; factor 0.99, after 20 batches, are ours.
    """

    name = "stabilityguard, 10x the EMA"
    source = "pypi.org/project/stabilityguard 0.3.0"
    ratio, alpha, warmup = 10.0, 0.99, 20

    def begin(self, training: TrainingStarted | None) -> None:
        del training
        self._seen = 0
        self._mean = 0.0

    def on_batch(self, batch: BatchEnded) -> bool:
        norm = batch.grad_norm
        if bad(batch.loss) or bad(norm):
            return True
        if norm is None:
            return False
        alarm = self._seen >= self.warmup and norm > self.ratio * self._mean
        if not alarm:
            self._seen += 1
            weight = max(1.0 - self.alpha, 1.0 / self._seen)
            self._mean += weight * (norm - self._mean)
        return alarm


class KeepaliveClub(PeerRule):
    """A loss that is NaN, or a mean of 20 over 2.5 times the best such mean. Once for each run, then it is deaf."""

    name = "keepalive-club, 2.5x the best mean of 20"
    source = "pypi.org/project/keepalive-club 0.2.2"
    ratio = 2.5

    def begin(self, training: TrainingStarted | None) -> None:
        del training
        self._losses = Window(20)
        self._best = math.inf
        self._told = False

    def on_batch(self, batch: BatchEnded) -> bool:
        if batch.loss is None or self._told:
            return False
        self._losses.add(batch.loss)
        mean = self._losses.mean()
        if self._losses.full:
            self._best = min(self._best, mean)
        self._told = bad(batch.loss) or (self._losses.full and mean > self.ratio * self._best)
        return self._told


class TrainPulse(PeerRule):
    """Not finite; a loss over 5 times, or a step time over 3 times the recent mean; a norm over 100; the rate x10.

    The recent mean is that of 50 values, which is ours. Its plateau warning is left out: it is no fault's name here.
    """

    name = "trainpulse, 5x loss, norm 100, 3x time"
    source = "pypi.org/project/trainpulse 0.4.0"
    loss_ratio, norm_max, rate_ratio, time_ratio = 5.0, 100.0, 10.0, 3.0

    def begin(self, training: TrainingStarted | None) -> None:
        del training
        self._losses, self._times = Window(50), Window(50)
        self._rate = 0.0

    def on_batch(self, batch: BatchEnded) -> bool:
        if bad(batch.loss) or bad(batch.grad_norm):
            return True
        rate = batch.learning_rates[0] if batch.learning_rates else 0.0
        before, self._rate = self._rate, rate
        jumped = before > 0.0 and rate >= self.rate_ratio * before
        large = batch.grad_norm is not None and batch.grad_norm > self.norm_max
        high = _above(self._losses, batch.loss, self.loss_ratio)
        slow = _above(self._times, batch.batch_s, self.time_ratio)
        return jumped or large or high or slow


def _above(window: Window, value: float | None, ratio: float) -> bool:
    """Over so many times the window's mean, once it is full; the value enters the window all the same."""
    if value is None:
        return False
    alarm = window.full and value > ratio * window.mean()
    window.add(value)
    return alarm
