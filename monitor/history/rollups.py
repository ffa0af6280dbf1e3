"""How roll-ups are written: the finest with every batch, a coarser one when it is full. Blocking.

What a coarser level does not have yet, its reader takes from the finer one (curve_query).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import msgspec

from monitor.history.samples import roll_up
from monitor.history.schema import AXIS, FILL_ROLLUP, LEVELS, MERGE_ROLLUP
from monitor.history.transaction_rows import Sample

FINEST = LEVELS[0]
NEWEST = "SELECT max(bucket) FROM rollups WHERE run = ? AND rank = ? AND generation = ? AND level = ? AND signal = ?"
LOWEST = "SELECT min(bucket) FROM rollups WHERE run = ? AND rank = ? AND generation = ? AND level = ? AND signal = ?"
THERE = """
SELECT 1 FROM rollups WHERE run = ? AND rank = ? AND generation = ? AND level = ? AND signal = ? AND bucket = ?
"""
NEXT_SIGNAL = "SELECT min(signal) FROM rollups WHERE run = ? AND rank = ? AND level = ? AND signal > ?"

Place = tuple[str, int, int]  # run, rank, generation


class _Touched(msgspec.Struct):
    """What new batches changed of one rank's generation, in buckets of the finest level."""

    before: int | None  # the newest bucket until now
    buckets: set[int] = set()
    newest: int = 0  # the highest count among the new batches


def write_rollups(db: sqlite3.Connection, samples: list[Sample]) -> None:
    """Merge the batches into the finest level, and write each coarser bucket that is full now."""
    touched: dict[Place, _Touched] = {}
    for sample in samples:
        place = (sample.run, sample.rank, sample.generation)
        if place not in touched:
            touched[place] = _Touched(db.execute(NEWEST, (*place, FINEST, AXIS)).fetchone()[0])
        touched[place].buckets.add((sample.count - 1) // FINEST)
        touched[place].newest = max(touched[place].newest, sample.count)
    db.executemany(MERGE_ROLLUP, roll_up(samples))
    for place, change in touched.items():
        for level in LEVELS[1:]:
            for bucket in _to_write(db, place, change, level):
                _fill(db, place, level, bucket)


def signals_of(db: sqlite3.Connection, run: str, rank: int) -> Iterator[str]:
    """Every signal that was recorded, by name."""
    (signal,) = db.execute(NEXT_SIGNAL, (run, rank, FINEST, "")).fetchone()
    while signal is not None:
        yield signal
        (signal,) = db.execute(NEXT_SIGNAL, (run, rank, FINEST, signal)).fetchone()


def _to_write(db: sqlite3.Connection, place: Place, change: _Touched, level: int) -> list[int]:
    """The buckets of a coarser level that are full now, or are there and have changed."""
    finer = level // FINEST
    changed = {bucket // finer for bucket in change.buckets}
    passed = -1 if change.before is None else change.before // finer
    newest = max(change.newest, 0 if change.before is None else change.before * FINEST + 1)
    # A batch that came late makes no bucket before the first: a history of before has batches there, and no bucket.
    (lowest,) = db.execute(LOWEST, (*place, level, AXIS)).fetchone()
    from_here = max(passed if lowest is None else min(lowest, passed), 0)

    def due(bucket: int) -> bool:
        if db.execute(THERE, (*place, level, AXIS, bucket)).fetchone():
            return bucket in changed
        return bucket >= from_here and (bucket + 1) * level <= newest

    return [bucket for bucket in changed | {passed} if due(bucket)]


def _fill(db: sqlite3.Connection, place: Place, level: int, bucket: int) -> None:
    run, rank, generation = place
    for signal in signals_of(db, run, rank):
        db.execute(FILL_ROLLUP, (run, rank, FINEST, signal, generation, bucket * level // FINEST, level, bucket))
