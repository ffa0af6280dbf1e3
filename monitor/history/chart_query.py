"""A chart's columns out of the history. Blocking."""

from __future__ import annotations

import math
from pathlib import Path

from monitor.core.model.curves import ChartColumns, SignalColumns
from monitor.history.curve_query import Range, Stretches, recorded
from monitor.history.schema import AXIS


def chart(path: Path, asked: Range, points: int, names: tuple[str, ...] = ()) -> ChartColumns:
    """The signals of these names (none: all) over one axis. Raises sqlite3.Error for a history that can't be read."""
    found = recorded(path, asked, points, (*names, AXIS) if names else ())
    axis = found.signals.get(AXIS, {})
    return ChartColumns(
        width=found.width,
        generation=[generation for generation, _ in axis],
        first=[place * found.width + 1 for _, place in axis],
        n=[r.n for r in axis.values()],
        bad=[round(r.total) for r in axis.values()],
        at_s=[round(r.to_s, 3) for r in axis.values()],
        signals={
            name: _columns(found.signals[name], axis, alone=found.width == 1) for name in found.signals if name != AXIS
        },
    )


def _columns(stretches: Stretches, axis: Stretches, *, alone: bool) -> SignalColumns:
    rows = [stretches.get(place) for place in axis]
    mean = [_short(r.total / r.n) if r else None for r in rows]
    if alone:
        return SignalColumns(mean)
    low, high = ([_short(getattr(r, end)) if r else None for r in rows] for end in ("low", "high"))
    return SignalColumns(mean, low, high)


def _short(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
