"""OLMo-core's SkipStepOptimizer, as it is and as it was first shipped. A skipped step counts as an alarm."""

from __future__ import annotations

import math

from tests.bench.peers.base import PeerRule
from tests.bench.peers.windows import Window
from trainer_hooks.wire.messages import BatchEnded, TrainingStarted

WINDOW_BATCHES = 128
SIGMAS = 6.0


class SkipStep(PeerRule):
    """Loss or gradient norm over mean + 6 sigma of the last 128 batches, or not finite. Judged from 64 batches on.

    What is not finite stays out of the window: one bad step costs one step.
    """

    name = "OLMo-core skip step, 6 sigma of 128"
    source = "allenai/OLMo-core, src/olmo_core/optim/skip_step_optimizer.py: its docstring"
    poisoned = False  # True: NaN enters the window, as it did

    def begin(self, training: TrainingStarted | None) -> None:
        del training
        self._batches = 0
        self._windows = (Window(WINDOW_BATCHES), Window(WINDOW_BATCHES))

    def on_batch(self, batch: BatchEnded) -> bool:
        self._batches += 1
        alarm = False
        for window, value in zip(self._windows, (batch.loss, batch.grad_norm), strict=True):
            if value is None:
                continue
            alarm |= self._batches > WINDOW_BATCHES // 2 and self._rejects(window, value)
            if self.poisoned or math.isfinite(value):
                window.add(value)
        return alarm

    def _rejects(self, window: Window, value: float) -> bool:
        """Anything that can't be shown to be small enough: a NaN on either side rejects."""
        mean, sd = window.mean_and_sd()
        return not (math.isfinite(value) and value <= mean + SIGMAS * sd)


class SkipStepFirst(SkipStep):
    """The same with NaN in the window: after one NaN the next 128 steps are skipped too, in silence."""

    name = "OLMo-core skip step, as first shipped"
    source = "the same file: what its docstring says of the behaviour before"
    poisoned = True
