"""llm-foundry's KillLossSpike callback."""

from __future__ import annotations

import numpy as np

from tests.bench.peers.base import PeerRule
from tests.bench.peers.windows import Window
from trainer_hooks.wire.messages import BatchEnded, TrainingStarted

WINDOW_MIN = 100
WINDOW_SHARE = 0.05  # of the run's batches
OUTLIER_RATIO = 2.0
PATIENCE = 4  # outliers in a row that are borne
CAP_MAX = 10.0


class KillLossSpike(PeerRule):
    """Five losses in a row at twice the window's mean, or half of the window above a cap.

    The window is the larger of 100 batches and 5 % of the run. The cap is the highest loss of the first full window, at
    most 10, and is judged after two windows. Outliers enter the mean they are held against; a NaN in the window makes
    every comparison false.
    """

    name = "llm-foundry KillLossSpike"
    source = "mosaicml/llm-foundry, llmfoundry/callbacks/kill_loss_spike_callback.py: its docstring"

    def begin(self, training: TrainingStarted | None) -> None:
        total = training.epochs * training.batches_per_epoch if training else 0
        self._losses = Window(max(WINDOW_MIN, round(WINDOW_SHARE * total)))
        self._outliers = 0
        self._cap = CAP_MAX

    def on_batch(self, batch: BatchEnded) -> bool:
        if batch.loss is None:
            return False
        losses = self._losses
        if losses.seen == losses.size:
            self._cap = min(float(losses.values.max()), CAP_MAX)
        alarm = losses.full and (self._spikes(batch.loss) or self._stays_high())
        losses.add(batch.loss)
        return alarm

    def _spikes(self, loss: float) -> bool:
        self._outliers = self._outliers + 1 if loss >= OUTLIER_RATIO * self._losses.mean() else 0
        return self._outliers > PATIENCE

    def _stays_high(self) -> bool:
        losses = self._losses
        high = int(np.count_nonzero(losses.values > self._cap))
        return losses.seen >= 2 * losses.size and high >= losses.size / 2
