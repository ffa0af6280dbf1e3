"""What the guard says of a batch and of a state. Values only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trainer_hooks.tensors import first_nonfinite, statistics_modules
from trainer_hooks.wire.messages import SkippedBy


@dataclass(slots=True)
class StepReport:
    """What the guard saw and did in one batch. Without an optimizer step in it, everything is as below.

    Not a struct of msgspec, which is made faster and written to more slowly: it is written to many times in a batch.
    """

    norm: torch.Tensor | None = None  # L2 before clipping, unscaled
    norm_value: float | None = None  # the same on the host, where it had to be read already
    clip_norm: float | None = None  # the limit that was used
    skipped_by: SkippedBy = SkippedBy.NOBODY
    scale_healthy: bool = True
    settled: bool = False  # the guard has nothing more to check in this batch
    stepped: bool = False  # an optimizer step was taken or skipped
    bad_buffer: str = ""  # the first statistic found non-finite, before it was restored
    bad_gradient: str = ""  # the parameter whose gradient was the first non-finite one that the backward pass came to
    called: bool = False  # the optimizer's step was called, whatever became of it
    damaged_before: bool = False  # parameters were seen not to be finite before the step
    measures: Sequence[torch.Tensor] = ()  # to be read with the batch's own scalars; see Guard.measures

    def note_buffer(self, bad: str) -> None:
        """The first name that is found counts."""
        self.bad_buffer = self.bad_buffer or bad

    def read_norm(self) -> float | None:
        """The norm, which is read where it still lies on the device."""
        if self.norm_value is None and self.norm is not None:
            self.norm_value = self.norm.item()
        return self.norm_value


def look_at(model: torch.nn.Module) -> Examination:
    """A full look at a state that nothing guards: nothing is restored. Waits for the device."""
    parameter = first_nonfinite(model.named_parameters())
    buffer = first_nonfinite(
        (f"{name}.{statistic}", getattr(module, statistic))
        for name, module in statistics_modules(model)
        for statistic in ("running_mean", "running_var")
    )
    return Examination(buffer, parameter, "", clean=not (parameter or buffer))


@dataclass(frozen=True, slots=True)
class Examination:
    """What a full look at the state found: names of the first non-finite tensors; no names: all is finite."""

    buffer: str  # before it was restored
    parameter: str
    average: str  # parameter or statistic of the moving average that could not be restored
    clean: bool  # True: nothing is non-finite now

    @property
    def first_bad(self) -> str:
        """The name that matters most; empty: nothing was wrong."""
        return self.parameter or self.buffer or self.average

    @property
    def finding(self) -> str:
        """One sentence; empty: nothing is wrong any more."""
        names = [name for name in (self.parameter, self.average, "" if self.clean else self.buffer) if name]
        return f"non-finite: {', '.join(names)}" if names else ""
