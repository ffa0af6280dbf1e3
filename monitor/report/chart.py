"""What a chart shows, in the units of its signals. Values only; monitor.report.svg draws it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from monitor.core.format import GIB
from monitor.core.model.curves import Point
from monitor.report.text import visible

LOG_FROM_RATIO = 50.0  # highest to lowest: above it a linear axis shows the highest values only
LARGEST = 1e150  # keeps sums and differences of an axis finite
NAME_CHARS_MAX = 60


class Dot(msgspec.Struct, frozen=True):
    """Lowest, mean and highest at one place."""

    x: float
    low: float
    mean: float
    high: float


class Curve(msgspec.Struct, frozen=True):
    """One curve. A new piece begins where batches are missing or another generation begins."""

    name: str
    pieces: list[list[Dot]]

    @property
    def dots(self) -> list[Dot]:
        """All of them."""
        return [dot for piece in self.pieces for dot in piece]


class Mark(msgspec.Struct, frozen=True):
    """A vertical line: "epoch", "generation", "onset", "opened", "order" or "rollback"."""

    x: float
    kind: str
    label: str  # what stands above it
    more: str = ""  # what those read who point at it


class Chart(msgspec.Struct, frozen=True):
    """One panel."""

    title: str
    lines: list[Curve]
    x_name: str
    first: float
    last: float
    unit: str = ""  # "", "GiB", "s"
    log: bool = False
    marks: list[Mark] = []
    bad: list[tuple[float, int]] = []  # where batches were not finite, and how many


class Figure(msgspec.Struct, frozen=True):
    """Charts over the same batches, under one caption."""

    caption: str
    charts: list[Chart]


def line_of(name: str, points: Sequence[Point], places: dict[int, float], scale: float = 1.0) -> Curve:
    """The curve of `points`; `places` holds where each generation's batch 0 lies on the axis, others are left out."""
    pieces: list[list[Dot]] = []
    before: Point | None = None
    for point in points:
        if point.generation not in places:
            continue
        if before is None or _apart(before, point):
            pieces.append([])
        pieces[-1].append(_dot(point, places[point.generation], scale))
        before = point
    return Curve(visible(name, NAME_CHARS_MAX), pieces)


def _apart(before: Point, point: Point) -> bool:
    width = before.last - before.first + 1
    return point.generation != before.generation or point.first - before.last > 3 * width


def _dot(point: Point, offset: float, scale: float) -> Dot:
    low, mean, high = (max(-LARGEST, min(number * scale, LARGEST)) for number in (point.low, point.mean, point.high))
    return Dot(offset + (point.first + point.last) / 2, low, mean, high)


def chart_of(
    title: str, lines: Iterable[Curve], across: Chart, unit: str = "", log: bool | None = None
) -> Chart | None:
    """A panel over the same batches and marks as `across`; None where no line has a dot.

    `log`: None takes a logarithmic axis where the values ask for one and none is below zero.
    """
    drawn = [line for line in lines if line.pieces]
    if not drawn:
        return None
    wide = _wide(drawn) if log is None else log and _positive(drawn)
    return msgspec.structs.replace(across, title=title, lines=drawn, unit=unit, log=wide)


def _positive(lines: list[Curve]) -> bool:
    return all(dot.mean > 0 for line in lines for dot in line.dots)


def _wide(lines: list[Curve]) -> bool:
    means = [dot.mean for line in lines for dot in line.dots]
    return _positive(lines) and max(means) > LOG_FROM_RATIO * min(means)


def bytes_scale() -> float:
    """From bytes to GiB."""
    return 1.0 / GIB
