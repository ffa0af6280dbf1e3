"""Small rules on one value against a short past: Megatron, ByteRobust, Lightning, OLMo 2, ZClip, guarftrain."""

from __future__ import annotations

import math

from tests.bench.peers.base import PeerRule, bad
from tests.bench.peers.windows import Window
from trainer_hooks.wire.messages import BatchEnded, TrainingStarted


class MegatronRerun(PeerRule):
    """A loss that is not finite, or at least 10 times the highest of the first 100 (that check is off by default)."""

    name = "Megatron, 10x the max of the first 100"
    source = "NVIDIA/Megatron-LM, megatron/core/rerun_state_machine.py: its documentation"
    samples = 100
    ratio = 10.0

    def begin(self, training: TrainingStarted | None) -> None:
        del training
        self._seen = 0
        self._highest = -math.inf

    def on_batch(self, batch: BatchEnded) -> bool:
        if batch.loss is None:
            return False
        if bad(batch.loss):
            return True
        if self._seen < self.samples:
            self._seen += 1
            self._highest = max(self._highest, batch.loss)
            return False
        return batch.loss >= self.ratio * self._highest


class ByteRobust(PeerRule):
    """Loss or gradient norm jump to five times what they were, or are not finite.

    The paper names no baseline; the mean of the last 10 finite values is the mildest reading that is not blind at once.
    """

    name = "ByteRobust, 5x or NaN"
    source = "ByteRobust, SOSP'25, arXiv 2509.16293: metric rules"
    ratio = 5.0

    def begin(self, training: TrainingStarted | None) -> None:
        del training
        self._windows = (Window(10), Window(10))

    def on_batch(self, batch: BatchEnded) -> bool:
        alarm = False
        for window, value in zip(self._windows, (batch.loss, batch.grad_norm), strict=True):
            if value is None:
                continue
            alarm |= bad(value) or (window.full and value >= self.ratio * window.mean())
            if math.isfinite(value):
                window.add(value)
        return alarm


class LightningSpike(PeerRule):
    """The loss is not finite, or lies more than twice the running mean of 10 above that mean."""

    name = "Lightning SpikeDetection"
    source = "Lightning-AI/pytorch-lightning, SpikeDetection: its documentation"
    rtol = 2.0

    def begin(self, training: TrainingStarted | None) -> None:
        del training
        self._losses = Window(10)

    def on_batch(self, batch: BatchEnded) -> bool:
        if batch.loss is None:
            return False
        if bad(batch.loss):
            return True
        mean = self._losses.mean()
        self._losses.add(batch.loss)
        return batch.loss - mean >= self.rtol * abs(mean)


class SpikeScore(PeerRule):
    """A value of loss or gradient norm 7 standard deviations or more from the mean of the last 1,000.

    The paper counts them as a score; here each one alarms. Judged from 100 values on; it does not say from when.
    """

    name = "OLMo 2 spike score, 7 sd of 1000"
    source = "OLMo 2, arXiv 2501.00656"
    sigmas, window, least = 7.0, 1000, 100

    def begin(self, training: TrainingStarted | None) -> None:
        del training
        self._windows = (Window(self.window), Window(self.window))

    def on_batch(self, batch: BatchEnded) -> bool:
        alarm = False
        for window, value in zip(self._windows, (batch.loss, batch.grad_norm), strict=True):
            if value is None or not math.isfinite(value):
                continue
            if window.seen >= self.least:
                mean, sd = window.mean_and_sd()
                alarm |= abs(value - mean) >= self.sigmas * sd > 0.0
            window.add(value)
        return alarm


class ZClip(PeerRule):
    """A gradient norm more than 2.5 EMA standard deviations above its EMA mean: ZClip clips, here it alarms.

    EMA factor 0.97 after 25 plain batches; what is clipped enters the statistics clipped, at mean + (2.5^2 / z) sigma.
    """

    name = "ZClip, z > 2.5"
    source = "ZClip, arXiv 2504.02507, and its README"
    alpha, limit, warmup = 0.97, 2.5, 25

    def begin(self, training: TrainingStarted | None) -> None:
        del training
        self._first: list[float] = []
        self._mean = self._var = 0.0

    def on_batch(self, batch: BatchEnded) -> bool:
        norm = batch.grad_norm
        if norm is None or not math.isfinite(norm):
            return False
        if len(self._first) < self.warmup:
            self._warm_up(norm)
            return False
        sd = math.sqrt(self._var)
        z = (norm - self._mean) / (sd + 1e-12)
        if z > self.limit:
            norm = self._mean + self.limit**2 / z * sd
        self._mean = self.alpha * self._mean + (1.0 - self.alpha) * norm
        self._var = self.alpha * self._var + (1.0 - self.alpha) * (norm - self._mean) ** 2
        return z > self.limit

    def _warm_up(self, norm: float) -> None:
        self._first.append(norm)
        self._mean = sum(self._first) / len(self._first)
        self._var = sum((v - self._mean) ** 2 for v in self._first) / len(self._first)


class Guarftrain(PeerRule):
    """The loss is not finite, or 50 % over the mean of the last 50 values that were written to the log."""

    name = "guarftrain, +50 %"
    source = "pypi.org/project/guarftrain 0.3.0"
    ratio = 1.5

    def begin(self, training: TrainingStarted | None) -> None:
        del training
        self._losses = Window(50)

    def on_batch(self, batch: BatchEnded) -> bool:
        if batch.loss is None:
            return False
        if bad(batch.loss):
            return True
        alarm = self._losses.full and batch.loss > self.ratio * self._losses.mean()
        self._losses.add(batch.loss)
        return alarm
