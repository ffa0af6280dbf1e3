"""A step that begins anew with each epoch, in a log that names no epochs, told apart from folds and restarts. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

from monitor.recorded.importers.imported_run import Sample

RESETS_MIN = 2  # one may be a restart
LENGTH_SHARE = 0.05  # by which the lengths of epochs may differ
END_ROWS = 3  # whose median is the loss at an end of a stretch; fewer of a short one


@dataclass(slots=True)
class _Stretch:
    """The rows between two resets."""

    first: float
    last: float
    rows: int = 0
    losses: list[float] = field(default_factory=list)


def step_begins_anew(samples: Iterable[Sample], step: str, loss: str) -> bool:
    """True where the step goes back to the same number after the same number of rows, and the loss goes on.

    Folds of a cross-validation go back as well, but their loss begins anew too.
    """
    stretches = _stretches(samples, step, loss)
    if len(stretches) <= RESETS_MIN or len({stretch.first for stretch in stretches[1:]}) > 1:
        return False
    whole = stretches[1:-1]
    lengths = [stretch.rows for stretch in whole]
    if max(lengths) - min(lengths) > max(1, LENGTH_SHARE * max(lengths)) or min(lengths) < 2:
        return False
    if stretches[0].first > whole[0].first and stretches[0].rows > max(lengths):
        return False
    return _loss_goes_on(stretches)


def _stretches(samples: Iterable[Sample], step: str, loss: str) -> list[_Stretch]:
    found: list[_Stretch] = []
    for _, values in samples:
        at = values.get(step)
        if at is None or not math.isfinite(at) or (loss and loss not in values):
            continue
        if not found or at < found[-1].last:
            found.append(_Stretch(at, at))
        found[-1].last = at
        found[-1].rows += 1
        if math.isfinite(value := values.get(loss, math.nan)):
            found[-1].losses.append(value)
    return found


def _loss_goes_on(stretches: list[_Stretch]) -> bool:
    """True where an epoch begins nearer to the end of the one before than to the beginning of the first."""
    known = [stretch for stretch in stretches if stretch.losses]
    if len(known) < 2:
        return True
    rows = max(1, min(END_ROWS, *(len(stretch.losses) // 2 for stretch in known)))
    begins = [statistics.median(stretch.losses[:rows]) for stretch in known]
    ends = [statistics.median(stretch.losses[-rows:]) for stretch in known]
    from_before = [abs(begin - end) for begin, end in zip(begins[1:], ends, strict=False)]
    from_first = [abs(begin - begins[0]) for begin in begins[1:]]
    return statistics.median(from_before) <= statistics.median(from_first)
