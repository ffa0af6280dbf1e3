"""Rules that wait for a batch. Each counts any record as a sign of life, as their heartbeats do."""

from __future__ import annotations

from tests.bench.peers.base import PeerRule
from trainer_hooks.wire.messages import BatchEnded, Event, PhaseChanged, TrainingStarted

MINUTE_S = 60.0


class NvrxDefault(PeerRule):
    """No heartbeat for 45 minutes; 60 before the first one."""

    name = "NVRx heartbeat, default"
    source = "NVIDIA/nvidia-resiliency-ext, docs/source/fault_tolerance/usage_guide.rst"
    first_s, later_s = 60 * MINUTE_S, 45 * MINUTE_S

    def begin(self, training: TrainingStarted | None) -> None:
        del training
        self._beating = False

    def on_batch(self, batch: BatchEnded) -> bool:
        del batch
        self._beating = True
        return False

    def on_silence(self, waited_s: float) -> bool:
        return waited_s > (self.later_s if self._beating else self.first_s)


class NvrxComputed(NvrxDefault):
    """No heartbeat for 5 times the longest wait between two seen so far; before that is known the default.

    The documentation leaves to the user when the time is computed: here from the first batch after a declared pause on,
    so that a validation and a save are among the waits.
    """

    name = "NVRx heartbeat, computed x5"
    safety = 5.0

    def begin(self, training: TrainingStarted | None) -> None:
        super().begin(training)
        self._pauses = 0
        self._learnt = False
        self._last_s: float | None = None
        self._longest_s = 0.0

    def on_batch(self, batch: BatchEnded) -> bool:
        if self._last_s is not None:
            self._longest_s = max(self._longest_s, batch.sent_s - self._last_s)
        self._last_s = batch.sent_s
        self._learnt = self._pauses > 0
        return super().on_batch(batch)

    def on_event(self, event: Event) -> bool:
        self._pauses += isinstance(event, PhaseChanged) and event.phase not in ("train", "idle")
        return super().on_event(event)

    def on_silence(self, waited_s: float) -> bool:
        if not self._learnt:
            return super().on_silence(waited_s)
        return waited_s > self.safety * self._longest_s


class DlroverHang(PeerRule):
    """No step for 10 minutes."""

    name = "DLRover hang, 10 minutes"
    source = "intelligent-machine-learning/dlrover, hang detection of the job master: README and defaults"
    limit_s = 10 * MINUTE_S

    def on_silence(self, waited_s: float) -> bool:
        return waited_s > self.limit_s
