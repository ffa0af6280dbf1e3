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


class SignalColumns(msgspec.Struct, frozen=True):
    """One signal over the axis of its chart. null: no batch of the stretch has a finite value."""

    mean: list[float | None]
    low: list[float | None] | None = None  # None, with `high`: the same as `mean`, since each stretch is one batch
    high: list[float | None] | None = None


class ChartColumns(msgspec.Struct, frozen=True):
    """Signals of one rank in columns over one axis: column i of each is of the same stretch of `width` batches.

    The names of the signals are those of `Curves`. Numbers have six digits.
    """

    width: int = 1
    generation: list[int] = []
    first: list[int] = []  # Counts.batches of the first batch of the stretch; the last is `width` - 1 further
    n: list[int] = []  # batches that were seen
    bad: list[int] = []  # and those among them that were not finite
    at_s: list[float] = []  # when the last of them ended: Unix time
    signals: dict[str, SignalColumns] = {}
