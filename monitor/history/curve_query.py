"""The curves of a run out of the history: every batch where it is kept and fits, roll-ups elsewhere. Blocking.

Every query names its run, rank, level, signal and generation, so that the key of the table leads to its rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from monitor.core.model.curves import POINTS, POINTS_MAX, Curves, Point
from monitor.history.raw_batches import rolled_raw
from monitor.history.reads import reading
from monitor.history.rollups import FINEST, signals_of
from monitor.history.samples import Rollup
from monitor.history.schema import AXIS, LEVELS
from monitor.history.transaction_rows import curve_key

FAR = 1 << 50  # further than any batch, and exact as a float
RAW_BATCHES_MAX = 5_000  # of one answer; beyond it roll-ups of 16 are as good, and there in half the time
NEXT_GENERATION = """
SELECT min(generation) FROM rollups WHERE run = ? AND rank = ? AND level = ? AND signal = ? AND generation >= ?
"""
OF_GENERATION = """
FROM rollups
WHERE run = ?1 AND rank = ?2 AND level = ?3 AND signal = ?4 AND generation = ?5 AND bucket BETWEEN ?6 AND ?7
"""
ENDS = f"SELECT (SELECT min(bucket) {OF_GENERATION}), (SELECT max(bucket) {OF_GENERATION})"
PIECE = f"""
SELECT bucket / ?8, min(from_s), max(to_s), sum(n), sum(total), min(low), max(high) {OF_GENERATION} GROUP BY bucket / ?8
"""

Stretches = dict[tuple[int, int], Rollup]  # by generation, and the number of the stretch in it


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
    def buckets(self) -> tuple[int, int]:
        """The first and the last of the finest roll-ups."""
        return (max(self.first, 1) - 1) // FINEST, (max(self.last, 1) - 1) // FINEST


class GenerationSpan(msgspec.Struct, frozen=True):
    """What is there of a generation, in buckets of the finest level."""

    generation: int
    low: int
    high: int


class RecordedSignals(msgspec.Struct, frozen=True):
    """Stretches of `width` batches, by signal."""

    width: int = 1
    signals: dict[str, Stretches] = {}


def curves(path: Path, asked: Range, points: int = POINTS) -> Curves:
    """Every signal in about `points` stretches of equal length; empty where nothing was recorded.

    Raises sqlite3.Error for a history that is missing or can't be read.
    """
    found = recorded(path, asked, points)
    drawn = {
        signal: [
            Point(generation, i * found.width + 1, (i + 1) * found.width, r.n, r.low, r.total / r.n, r.high)
            for (generation, i), r in stretches.items()
        ]
        for signal, stretches in found.signals.items()
    }
    return Curves(found.width, drawn)


def recorded(path: Path, asked: Range, points: int, names: tuple[str, ...] = ()) -> RecordedSignals:
    """As `curves`, of the signals of these names (none: all)."""
    points = max(1, min(points, POINTS_MAX))
    with reading(path) as db:
        spans = list(_spans(db, asked))
        if not spans:
            return RecordedSignals()
        batches = min(sum(span.high - span.low + 1 for span in spans) * FINEST, asked.last - asked.first + 1)
        width = max(1, -(-batches // points))
        if width < FINEST and batches <= RAW_BATCHES_MAX and _raw_is_there(db, asked, spans[0]):
            by_generation = ((s.generation, asked.first, asked.last) for s in spans)
            return RecordedSignals(width, rolled_raw(db, (asked.key, asked.rank), by_generation, width, names))
        level = max(level for level in LEVELS if level <= max(width, FINEST))
        width = max(width, FINEST) // level * level
        wanted = [signal for signal in signals_of(db, asked.key, asked.rank) if not names or signal in names]
        return RecordedSignals(width, _rolled_up(db, asked, spans, level, width, wanted))


def _spans(db: sqlite3.Connection, asked: Range) -> Iterator[GenerationSpan]:
    """Of each generation that is asked for, the ends of what is there."""
    key, rank = asked.key, asked.rank
    generation = asked.generation or 0
    while True:
        (generation,) = db.execute(NEXT_GENERATION, (key, rank, FINEST, AXIS, generation)).fetchone()
        if generation is None or asked.generation not in {None, generation}:
            return
        low, high = db.execute(ENDS, (key, rank, FINEST, AXIS, generation, *asked.buckets)).fetchone()
        if low is not None:
            yield GenerationSpan(generation, low, high)
        generation += 1


def _raw_is_there(db: sqlite3.Connection, asked: Range, earliest: GenerationSpan) -> bool:
    """False where the oldest of the batches are trimmed already."""
    sql = "SELECT min(count) FROM samples WHERE run = ? AND rank = ? AND generation = ? AND count BETWEEN ? AND ?"
    where = (asked.key, asked.rank, earliest.generation, asked.first, asked.last)
    (first,) = db.execute(sql, where).fetchone()
    return first is not None and first <= max(earliest.low * FINEST, asked.first) + FINEST


def _rolled_up(
    db: sqlite3.Connection, asked: Range, spans: list[GenerationSpan], level: int, width: int, wanted: list[str]
) -> dict[str, Stretches]:
    found: dict[str, Stretches] = {}
    for span in spans:
        pieces = list(_pieces(db, asked, span, level))
        for signal in wanted:
            stretches = found.setdefault(signal, {})
            for of_level, low, high in pieces:
                where = (asked.key, asked.rank, of_level, signal, span.generation, low, high, width // of_level)
                for place, *row in db.execute(PIECE, where):
                    rollup = Rollup(*row)
                    if known := stretches.get((span.generation, place)):  # the end of one piece, the start of another
                        known.merge(rollup)
                    else:
                        stretches[span.generation, place] = rollup
    return {signal: stretches for signal, stretches in found.items() if stretches}


def _pieces(db: sqlite3.Connection, asked: Range, span: GenerationSpan, level: int) -> Iterator[tuple[int, int, int]]:
    """The level, and its first and last bucket, of each part of the span: what a level lacks, the finer has."""
    finer = level // FINEST
    if level == FINEST:
        yield level, span.low, span.high
        return
    below = LEVELS[LEVELS.index(level) - 1]
    within = (span.low // finer, span.high // finer)
    low, high = db.execute(ENDS, (asked.key, asked.rank, level, AXIS, span.generation, *within)).fetchone()
    if low is None:
        yield from _pieces(db, asked, span, below)
        return
    if span.low < low * finer:
        yield from _pieces(db, asked, GenerationSpan(span.generation, span.low, low * finer - 1), below)
    yield level, low, high
    if (high + 1) * finer <= span.high:
        yield from _pieces(db, asked, GenerationSpan(span.generation, (high + 1) * finer, span.high), below)
