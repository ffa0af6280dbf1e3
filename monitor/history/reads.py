"""Questions to the history, over a connection that can only read. Blocking: for a worker thread."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from monitor.core.model.channel import TimelineLine
from monitor.history.schema import LEVELS, SIGNALS

STORY_LINES_MAX = 500
BUCKETS_MAX = 2000
OF_BATCHES = "run = ? AND rank = ? AND level = ? AND signal = 'nonfinite'"  # the one signal every batch has
ROWS_PER_BUCKET = 8  # a finer level is read only while this many rows make one bucket


class Bucket(msgspec.Struct, frozen=True):
    """Lowest, mean and highest of the finite values within a stretch of time. None: there were none."""

    at_s: float  # where the stretch begins
    n: int
    low: float | None
    mean: float | None
    high: float | None


class Series(msgspec.Struct, frozen=True):
    """What a chart draws."""

    level: int  # batches behind one stored row
    signals: dict[str, list[Bucket]]


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that can only read. Raises sqlite3.Error where there is no history, or none that can be read."""
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=1.0)
    try:
        yield db
    finally:
        db.close()


def timeline(path: Path, run: str, after: int) -> list[TimelineLine]:
    """The lines of a run behind line `after`, the daemon's own included, at most STORY_LINES_MAX, oldest first."""
    sql = "SELECT n, run, at_s, severity, text FROM story WHERE run IN (?, '') AND n > ? ORDER BY n LIMIT ?"
    with reading(path) as db:
        return [TimelineLine(*row) for row in db.execute(sql, (run, after, STORY_LINES_MAX))]


def samples(path: Path, run: str, rank: int, from_s: float, to_s: float, buckets: int) -> Series:
    """Every signal of one rank between two times (Unix), in at most `buckets` stretches of equal length."""
    buckets = max(1, min(buckets, BUCKETS_MAX))
    with reading(path) as db:
        first, last = db.execute(
            f"SELECT min(from_s), max(to_s) FROM rollups WHERE {OF_BATCHES}",  # noqa: S608 - our own text
            (run, rank, LEVELS[-1]),
        ).fetchone()
        if first is None:
            return Series(LEVELS[0], {})
        from_s, to_s = max(from_s, first), min(to_s, last + 1.0)
        width_s = max((to_s - from_s) / buckets, 1e-6)
        level = _level(db, (run, rank, from_s, to_s), buckets)
        found = {signal: _buckets(db, run, rank, level, signal, from_s, to_s, width_s) for signal in SIGNALS}
    return Series(level, {signal: rows for signal, rows in found.items() if rows})


def _level(db: sqlite3.Connection, where: tuple[str, int, float, float], buckets: int) -> int:
    """The finest level that is not needlessly many rows."""
    run, rank, from_s, to_s = where
    sql = f"SELECT count(*) FROM rollups WHERE {OF_BATCHES} AND to_s >= ? AND from_s < ?"  # noqa: S608
    for level in LEVELS[:-1]:
        (rows,) = db.execute(sql, (run, rank, level, from_s, to_s)).fetchone()
        if rows <= buckets * ROWS_PER_BUCKET:
            return level
    return LEVELS[-1]


def _buckets(
    db: sqlite3.Connection, run: str, rank: int, level: int, signal: str, from_s: float, to_s: float, width_s: float
) -> list[Bucket]:
    sql = """
    SELECT CAST((max(from_s, ?5) - ?5) / ?7 AS INTEGER) AS place, sum(n), min(low), sum(total), max(high) FROM rollups
    WHERE run = ?1 AND rank = ?2 AND level = ?3 AND signal = ?4 AND to_s >= ?5 AND from_s < ?6
    GROUP BY place ORDER BY place
    """
    rows = db.execute(sql, (run, rank, level, signal, from_s, to_s, width_s))
    return [Bucket(from_s + place * width_s, n, low, total / n, high) for place, n, low, total, high in rows]
