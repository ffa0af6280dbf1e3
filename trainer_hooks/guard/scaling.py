"""The gradient scaler of a guarded training: is it on, was it asked for a step, has it left the step out."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Protocol

from trainer_hooks.guard.report import StepReport
from trainer_hooks.wire.messages import SkippedBy

SCALE_HEALTHY = 1.0  # a scaler that falls below it is not looking for its range any more, it is losing every step


class Scaler(Protocol):
    """The part of torch.amp.GradScaler that is used."""

    def is_enabled(self) -> bool: ...
    def get_scale(self) -> float: ...


class ScalerWatch:
    """Comes between a trainer and its scaler's `step` while the trainer takes a step; None: there is no scaler."""

    def __init__(self, scaler: Scaler | None) -> None:
        self._scaler: Any = scaler
        self.asks: Callable[[], bool] = _never if scaler is None else scaler.is_enabled  # is it on now?
        self.on = False  # it is there and switched on, as of the present step
        self.scale: float | None = None  # after the batch before
        self.called = False  # its step was, in the present step of the trainer
        self._within = False  # of a step that was announced
        self._own: Any = None  # what the scaler itself, not its class, had for `step`
        self.look()

    def look(self) -> None:
        """A training may switch it on or off between two steps."""
        self.on = bool(self.asks())

    @property
    def passed_by(self) -> bool:
        """True: the trainer's step goes on, and nobody has asked the scaler for it."""
        return self._within and not self.called

    def enter(self) -> None:
        """An announced step begins. Only to be called where it is on."""
        if not self._within:
            self._within = True
            self._own = vars(self._scaler).get("step")
            self._scaler.step = functools.partial(self._step, self._scaler.step)

    def leave(self) -> None:
        """The announced step is over."""
        if self._within:
            self._within = False
            if self._own is None:
                vars(self._scaler).pop("step", None)
            else:
                self._scaler.step = self._own

    def skipped(self, report: StepReport) -> SkippedBy:
        """SCALER where it left the step out; NOBODY where the step was taken.

        Only for a fused optimizer, which looks within its own step, is the answer in the norm or in the scale. It has
        read its own verdict by then, so this waits for little.
        """
        norm, scale = report.read_norm(), None
        if report.called:
            if norm is not None and math.isfinite(norm):
                return SkippedBy.NOBODY
            scale = self._scaler.get_scale()
            if self.scale is None or scale >= self.scale:
                return SkippedBy.NOBODY
        report.scale_healthy = (self._scaler.get_scale() if scale is None else scale) >= SCALE_HEALTHY
        return SkippedBy.SCALER

    def _step(self, step: Callable[..., Any], *args: Any, **options: Any) -> Any:
        self.called = True
        return step(*args, **options)


def _never() -> bool:
    return False
