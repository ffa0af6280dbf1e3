"""Dates an onset back. Pure.

In the three public logs that show single batches (BLOOM-176B, two runs before it) the gradient norm moved one to four
batches before the loss: a trouble that is seen in the loss began earlier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitor.core.diagnosis.robust import RobustLevel, level
from monitor.core.diagnosis.signal_samples import NORM, Quantity, finite
from trainer_hooks.wire.messages import BatchEnded

BACK_BATCHES = 64  # looked back at most
GUARD_BATCHES = 64  # left out of the reference where enough are left: a rise may have begun in them
GUARD_LEAST = 16
REFERENCE_MIN = 32  # fewer batches than these say nothing of what is normal
EXCURSION = 6.0  # spreads; 6 of the robust spread is 4 of its largest errors over 64 batches
CALM = 4.0  # spreads: below it a value is as usual
SPREAD_MIN = 0.05  # 5 %, in log space
LASTING, LASTING_WITHIN = 3, 5  # batches: fewer are an outlier
GAP_BATCHES = 2  # as many usual ones may lie between two excursions of one rise


@dataclass(frozen=True, slots=True)
class Reference:
    """What was usual before the onset, by signal."""

    levels: dict[str, RobustLevel]
    quantities: tuple[Quantity, ...]

    def excursions(self, batch: BatchEnded) -> list[tuple[Quantity, float]]:
        """The signals of a batch that lie above what is usual, with their distance in spreads."""
        found = []
        for quantity in self.quantities:
            value, known = quantity.read(batch), self.levels.get(quantity.name)
            if value is not None and known is not None and (away := known.spreads(value)) > EXCURSION:
                found.append((quantity, away))
        return found


def reference(before: Sequence[BatchEnded], quantities: Sequence[Quantity]) -> Reference:
    """Levels of the batches before the first bad one; empty where there are too few."""
    guard = GUARD_BATCHES if len(before) >= GUARD_BATCHES + REFERENCE_MIN else GUARD_LEAST
    calm = [b for b in before[: max(len(before) - guard, 0)] if not b.nonfinite]
    levels = {}
    if len(calm) >= REFERENCE_MIN:
        for quantity in quantities:
            values = finite(quantity.read, calm)
            if len(values) >= REFERENCE_MIN // 4:  # with accumulation the norm is known on one batch in four
                levels[quantity.name] = level(values, SPREAD_MIN)
    return Reference(levels, tuple(quantities))


def first_lasting(batches: Sequence[BatchEnded], known: Reference) -> BatchEnded | None:
    """The first batch from which on several in a row are out of the usual; None: none is."""
    out = [bool(known.excursions(batch)) for batch in batches]
    for i, batch in enumerate(batches):
        if out[i] and sum(out[i : i + LASTING_WITHIN]) >= LASTING:
            return batch
    return None


@dataclass(frozen=True, slots=True)
class Lead:
    """The first abnormal batch before the first bad one, and what stood out in it."""

    batch: BatchEnded
    earlier: int  # batches before the first bad one
    quantity: Quantity
    spreads: float


def lead(before: Sequence[BatchEnded], first_count: int, known: Reference) -> Lead | None:
    """Walk back from the first bad batch as long as something is out of the usual; None: nothing was."""
    found, usual = None, 0
    for batch in reversed(before[-BACK_BATCHES:]):
        if usual > GAP_BATCHES or first_count - batch.counts.batches > BACK_BATCHES:
            break
        out = known.excursions(batch)
        if out:
            quantity, away = max(out, key=lambda pair: pair[1])
            found, usual = Lead(batch, first_count - batch.counts.batches, quantity, away), 0
        elif batch.grad_norm is not None or NORM.name not in known.levels:  # most batches of an accumulation tell none
            usual += 1
    return found
