"""What the peers' rules have in common: they see records and answer yes or no."""

from __future__ import annotations

import math

from trainer_hooks.wire.messages import BatchEnded, Event, TrainingStarted


class PeerRule:
    """A rule that alarms on nothing. Most peers live in the training process: a restart makes them forget (`begin`)."""

    name: str = ""
    source: str = ""

    def __init__(self) -> None:
        self.begin(None)

    def begin(self, training: TrainingStarted | None) -> None:
        """Start from nothing. `training` is None before the first one has started."""

    def on_batch(self, batch: BatchEnded) -> bool:
        del batch
        return False

    def on_event(self, event: Event) -> bool:
        if isinstance(event, TrainingStarted):
            self.begin(event)
        return False

    def on_silence(self, waited_s: float) -> bool:
        del waited_s
        return False


def bad(value: float | None) -> bool:
    """True for NaN and infinities; None, a value that is not known, is neither good nor bad."""
    return value is not None and not math.isfinite(value)
