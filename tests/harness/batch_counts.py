"""How a batch is counted: what of it is not finite, who skipped its step, and the totals after it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from trainer_hooks.wire.messages import Counts, Nonfinite, SkippedBy

NO_COUNTS = Counts()
LOSS, GRADIENT = int(Nonfinite.LOSS), int(Nonfinite.GRADIENT)  # as numbers: an enum is ten times slower to combine
PARAMETER, BUFFER = int(Nonfinite.PARAMETER), int(Nonfinite.BUFFER)


def nonfinite_bits(loss: float | None, parts: Iterable[float], grad_norm: float | None, damage: int = 0) -> int:
    """Bits of Nonfinite that these values show; `damage`: those that no value shows."""
    bits = int(damage)
    if (loss is not None and not math.isfinite(loss)) or not all(map(math.isfinite, parts)):
        bits |= LOSS
    if grad_norm is not None and not math.isfinite(grad_norm):
        bits |= GRADIENT
    return bits


def skipped_by(*, cured: bool, overflow: bool) -> SkippedBy:
    """Who skipped the batch's step. `cured`: the guard did; `overflow`: the scaler did."""
    if overflow:
        return SkippedBy.SCALER
    return SkippedBy.GUARD if cured else SkippedBy.NOBODY


def counted(
    before: Counts,
    bits: int,
    *,
    cured: bool = False,
    overflow: bool = False,
    stepped: bool = True,
    missed: int = 0,
    by_script: bool = False,
) -> Counts:
    """The totals after a batch, and after `missed` ones before it whose records were lost."""
    return Counts(
        before.batches + 1 + missed,
        before.steps + stepped + missed,
        before.nonfinite_batches + bool(bits),
        before.nonfinite_loss + bool(bits & LOSS),
        before.nonfinite_gradient + bool(bits & GRADIENT),
        before.nonfinite_parameter + bool(bits & PARAMETER),
        before.nonfinite_buffer + bool(bits & BUFFER),
        before.skipped_by_guard + (cured and not overflow),
        before.skipped_by_scaler + overflow,
        before.scaler_overflows + overflow,
        skipped_by_script=before.skipped_by_script + by_script,
    )
