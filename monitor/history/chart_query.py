"""A chart's columns out of the history. Blocking."""

from __future__ import annotations

from pathlib import Path

from monitor.core.model.curves import ChartColumns, Point, SignalColumns
from monitor.history.curve_query import Range, curves

AXIS = "nonfinite"  # every batch has it


def chart(path: Path, asked: Range, points: int, names: tuple[str, ...] = ()) -> ChartColumns:
    """The signals of these names (none: all) over one axis. Raises sqlite3.Error for a history that can't be read."""
    found = curves(path, asked, points)
    axis = found.signals.get(AXIS, [])
    where = {(point.generation, point.first): i for i, point in enumerate(axis)}
    return ChartColumns(
        width=found.width,
        generation=[point.generation for point in axis],
        first=[point.first for point in axis],
        n=[point.n for point in axis],
        bad=[round(point.mean * point.n) for point in axis],
        at_s=[0.0 for _ in axis],
        signals={
            name: _columns(of_signal, where, found.width)
            for name, of_signal in found.signals.items()
            if name != AXIS and (not names or name in names)
        },
    )


def _columns(points: list[Point], where: dict[tuple[int, int], int], width: int) -> SignalColumns:
    mean: list[float | None] = [None] * len(where)
    low, high = mean.copy(), mean.copy()
    for point in points:
        i = where[point.generation, point.first]
        mean[i], low[i], high[i] = _short(point.mean), _short(point.low), _short(point.high)
    return SignalColumns(mean) if width == 1 else SignalColumns(mean, low, high)


def _short(value: float) -> float:
    return float(f"{value:.6g}")
