"""Rules that look for NaN and infinities alone."""

from __future__ import annotations

from tests.bench.peers.base import PeerRule, bad
from trainer_hooks.wire.messages import BatchEnded, EpochEnded, Event, TrainingStarted


class TerminateOnNan(PeerRule):
    """Keras `TerminateOnNaN`: ends the training on the first batch whose loss is NaN or infinite.

    Lightning's `terminate_on_nan`, of releases before 2.0, looked at the same value at the same moment.
    """

    name = "Keras TerminateOnNaN"
    source = "keras.io/api/callbacks/terminate_on_nan"

    def on_batch(self, batch: BatchEnded) -> bool:
        return bad(batch.loss)


class UltralyticsRecovery(PeerRule):
    """Ultralytics' own NaN recovery (8.3.213 and newer): looks at an epoch's end, at its last batch and the fitness.

    It passes the first epoch of a training with a warning, which counts as an alarm here: it is printed.
    """

    name = "Ultralytics NaN recovery"
    source = "ultralytics 8.4, BaseTrainer._handle_nan_recovery"

    def begin(self, training: TrainingStarted | None) -> None:
        del training
        self._last_loss: float | None = None

    def on_batch(self, batch: BatchEnded) -> bool:
        self._last_loss = batch.loss
        return False

    def on_event(self, event: Event) -> bool:
        super().on_event(event)
        return isinstance(event, EpochEnded) and (bad(self._last_loss) or bad(event.fitness))
