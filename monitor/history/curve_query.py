"""The curves of a run out of the history: every batch where it is kept and fits, roll-ups elsewhere. Blocking."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from monitor.core.model.curves import POINTS, POINTS_MAX, Curves, Point
from monitor.history.reads import reading
from monitor.history.samples import Rollup, values
from monitor.history.schema import LEVELS
from monitor.history.transaction_rows import Sample, curve_key

FINEST = LEVELS[0]
FAR = 1 << 50  # further than any batch, and exact as a float
SPAN = """
SELECT generation, min(bucket), max(bucket) FROM rollups
WHERE run = ? AND rank = ? AND level = ? AND signal = 'nonfinite' AND generation BETWEEN ? AND ?
  AND bucket BETWEEN ? AND ? GROUP BY generation
"""
ROLLED_UP = """
SELECT signal, generation, min(bucket), max(bucket), sum(n), sum(total), min(low), max(high) FROM rollups
WHERE run = ? AND rank = ? AND level = ? AND generation BETWEEN ? AND ? AND bucket BETWEEN ? AND ?
GROUP BY signal, generation, bucket / ? ORDER BY signal, generation, bucket / ?
"""
EACH = """
SELECT run, generation, rank, count, epoch, batch, at_s, loss, grad_norm, nonfinite, learning_rate, reserved, batch_s,
  data_wait_s, allocated, more FROM samples
WHERE run = ? AND rank = ? AND generation BETWEEN ? AND ? AND count BETWEEN ? AND ? ORDER BY generation, count
"""

_more = msgspec.msgpack.Decoder(tuple[tuple[float, ...], tuple[float, ...]])


class Range(msgspec.Struct, frozen=True):
    """Which batches of which rank are asked for."""

    run: str
    rank: int = 0
    training: int = 1
    generation: int | None = None  # None: every one
    first: int = 1  # Counts.batches of the generation
    last: int = FAR

    @property
    def key(self) -> str:
        """What the tables call its training."""
        return curve_key(self.run, self.training)

    @property
    def generations(self) -> tuple[int, int]:
        """The lowest and the highest."""
        return (0, FAR) if self.generation is None else (self.generation, self.generation)

    @property
    def buckets(self) -> tuple[int, int]:
        """The first and the last of the finest roll-ups."""
        return (max(self.first, 1) - 1) // FINEST, (max(self.last, 1) - 1) // FINEST


def curves(path: Path, asked: Range, points: int = POINTS) -> Curves:
    """Every signal in about `points` stretches of equal length; empty where nothing was recorded.

    Raises sqlite3.Error for a history that is missing or can't be read.
    """
    points = max(1, min(points, POINTS_MAX))
    with reading(path) as db:
        where = (asked.key, asked.rank, FINEST, *asked.generations, *asked.buckets)
        spans = db.execute(SPAN, where).fetchall()
        if not spans:
            return Curves()
        batches = sum(last - first + 1 for _, first, last in spans) * FINEST
        width = max(1, -(-min(batches, asked.last - asked.first + 1) // points))
        if width < FINEST and (each := _each(db, asked, width, earliest=spans[0])):
            return each
        return _rolled_up(db, asked, max(width, FINEST))


def _rolled_up(db: sqlite3.Connection, asked: Range, width: int) -> Curves:
    level = max(level for level in LEVELS if level <= width)
    together, finer = width // level, level // FINEST
    low, high = asked.buckets
    where = (asked.key, asked.rank, level, *asked.generations, low // finer, high // finer)
    found: dict[str, list[Point]] = {}
    for signal, generation, first, last, n, total, lowest, highest in db.execute(
        ROLLED_UP, (*where, together, together)
    ):
        point = Point(generation, first * level + 1, (last + 1) * level, n, lowest, total / n, highest)
        found.setdefault(signal, []).append(point)
    return Curves(together * level, found)


def _each(db: sqlite3.Connection, asked: Range, width: int, earliest: tuple[int, int, int]) -> Curves | None:
    """From the raw batches; None where the oldest of them are trimmed already."""
    generation, bucket, _ = earliest
    rolled: dict[str, dict[tuple[int, int], Rollup]] = {}
    begun = False
    for sample in _samples(db, asked):
        if not begun and (sample.generation, sample.count) > (generation, max(bucket * FINEST, asked.first) + FINEST):
            return None
        begun = True
        place = (sample.generation, (sample.count - 1) // width)
        for signal, value in values(sample):
            of_signal = rolled.setdefault(signal, {})
            rollup = of_signal.get(place) or of_signal.setdefault(place, Rollup(sample.at_s, sample.at_s))
            rollup.add(value, sample.at_s)
    return Curves(width, {signal: _points(places, width) for signal, places in rolled.items()}) if begun else None


def _points(places: dict[tuple[int, int], Rollup], width: int) -> list[Point]:
    return [
        Point(generation, place * width + 1, (place + 1) * width, r.n, r.low, r.total / r.n, r.high)
        for (generation, place), r in places.items()
    ]


def _samples(db: sqlite3.Connection, asked: Range) -> Iterator[Sample]:
    where = (asked.key, asked.rank, *asked.generations, asked.first, asked.last)
    for row in db.execute(EACH, where):
        more = _more.decode(row[-1]) if row[-1] else ((), ())
        yield Sample(*(*row[:-1], *more))
