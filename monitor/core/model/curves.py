"""The recorded signals of a run, as few enough points to draw. Values only."""

from __future__ import annotations

import msgspec

POINTS = 600  # of one curve: about one for each pixel of a chart
POINTS_MAX = 2000


class Point(msgspec.Struct, frozen=True, array_like=True):
    """Lowest, mean and highest of the finite values in a stretch of batches of one generation."""

    generation: int
    first: int  # Counts.batches of the first batch of the stretch, from 1
    last: int
    n: int  # batches with a finite value
    low: float
    mean: float
    high: float


class Curves(msgspec.Struct, frozen=True):
    """What was recorded of one rank.

    Signals are "loss", "grad_norm", "learning_rate" (of the first group), "reserved", "allocated" (bytes), "batch_s",
    "data_wait_s", "nonfinite" (its mean is the share of bad batches), "part/<i>" of the loss, from 0, and "rate/<i>"
    of the further parameter groups, from 1. A signal that nobody sent is not there.
    """

    width: int = 1  # batches behind one point
    signals: dict[str, list[Point]] = {}
