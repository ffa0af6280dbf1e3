"""Batches as they were recorded, folded into stretches of less than one roll-up. Blocking."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable

import msgspec

from monitor.history.samples import Rollup
from monitor.history.schema import AXIS, GROUPS_MAX, PARTS_MAX, SIGNALS

WHERE = "FROM samples WHERE run = ? AND rank = ? AND generation = ? AND count BETWEEN ? AND ?"
MORE = f"SELECT (count - 1) / ?, at_s, more {WHERE} AND more IS NOT NULL ORDER BY count"

PARTS = [f"part/{i}" for i in range(PARTS_MAX)]
RATES = [f"rate/{i}" for i in range(1, GROUPS_MAX)]

Stretches = dict[tuple[int, int], Rollup]
_more = msgspec.msgpack.Decoder(tuple[tuple[float, ...], tuple[float, ...]])


def rolled_raw(
    db: sqlite3.Connection,
    whose: tuple[str, int],
    generations: Iterable[tuple[int, int, int]],
    width: int,
    names: tuple[str, ...],
) -> dict[str, Stretches]:
    """The signals of these names (none: all) of a run's key and rank, in stretches of `width`.

    `generations`: of each its number, and its first and last batch.
    """
    columns = [signal for signal in SIGNALS if not names or signal in names]
    found: dict[str, Stretches] = {}
    for generation, first, last in generations:
        where = (*whose, generation, first, last)
        for place, from_s, to_s, *row in db.execute(_aggregates(columns), (width, *where)):
            for i, signal in enumerate(columns):
                n, total, low, high = row[4 * i : 4 * i + 4]
                if n:
                    found.setdefault(signal, {})[generation, place] = Rollup(from_s, to_s, n, total, low, high)
        if not names or not set(names) <= set(SIGNALS):
            _add_more(found, names, generation, db.execute(MORE, (width, *where)))
    return found


def _aggregates(columns: list[str]) -> str:
    """Each stretch, with the count, sum, lowest and highest of each signal's finite values. The names are our own."""
    parts = []
    for signal in columns:
        value, finite = ("nonfinite != 0", "1") if signal == AXIS else (signal, f"abs({signal}) < 9e999")
        parts += [f"{call}({value}) FILTER (WHERE {finite})" for call in ("count", "sum", "min", "max")]
    return f"SELECT (count - 1) / ? AS place, min(at_s), max(at_s), {', '.join(parts)} {WHERE} GROUP BY place"


def _add_more(
    found: dict[str, Stretches], names: tuple[str, ...], generation: int, rows: Iterable[tuple[int, float, bytes]]
) -> None:
    """The components of the loss and the further rates, which stand in one column."""
    for place, at_s, more in rows:
        parts, rates = _more.decode(more)
        where = (generation, place)
        for signal, value in (*zip(PARTS, parts, strict=False), *zip(RATES, rates, strict=False)):
            if math.isfinite(value) and (not names or signal in names):
                stretches = found.setdefault(signal, {})
                rollup = stretches.get(where) or stretches.setdefault(where, Rollup(at_s, at_s))
                rollup.add(value, at_s)
