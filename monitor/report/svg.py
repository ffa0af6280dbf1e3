"""Charts as inline SVG, built as a tree so that every text is escaped by the library that writes it. Pure.

Colours and strokes are classes of the page's own style sheet: the same drawing serves its light and its dark side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from xml.etree.ElementTree import Element, SubElement

from monitor.core.format import plural
from monitor.report import axes
from monitor.report.chart import Chart, Curve, Dot, Mark
from monitor.report.svg_elements import circle, inline, segment, text, written
from monitor.report.text import visible

WIDTH, HEIGHT = 760.0, 220.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 12.0, 22.0, 34.0
NAME_PIXELS = 190.0  # the chart's own name stands there; a mark below it keeps its label for those who point at it
LABEL_PIXELS = 60.0
LABEL_CHARS_MAX = 56
LETTER_PIXELS = 6.0  # of the labels' 11 px, on average
LABELLED = ("onset", "opened", "order", "rollback", "generation")
COLOURS = 8
TICK = {"class": "tick"}

Place = Callable[[float], float]


def svg(chart: Chart, key: str) -> str:
    """The drawing, with a title and a description for those who do not see it; `key` is unique within the page."""
    root = inline(WIDTH, HEIGHT, **{"role": "img", "aria-labelledby": f"{key}-title {key}-desc"})
    SubElement(root, "title", id=f"{key}-title").text = visible(chart.title)
    SubElement(root, "desc", id=f"{key}-desc").text = described(chart)
    x, y = _across(chart), _up(chart)
    _draw_axes(root, chart, x, y)
    for mark in chart.marks:
        _draw_mark(root, mark, x(mark.x))
    _draw_labels(root, chart.marks, x)
    for place, line in enumerate(chart.lines):
        _draw_line(root, line, place % COLOURS, x, y)
    for at, times in chart.bad:
        _draw_bad(root, x(at), times)
    return written(root, html=True)


def described(chart: Chart) -> str:
    """The chart in words: each line's range, and what is marked."""
    parts = [f"{visible(line.name)} {_range(line, chart.unit)}" for line in chart.lines] or ["no finite value"]
    bad = sum(times for _, times in chart.bad)
    if bad:
        parts.append(plural(bad, "non-finite batch"))
    parts += [visible(mark.label) for mark in chart.marks if mark.kind in LABELLED]
    return f"{visible(chart.title)}: {'; '.join(parts)}."


def _range(line: Curve, unit: str) -> str:
    dots = line.dots
    low, high = min(dot.low for dot in dots), max(dot.high for dot in dots)
    after = f" {unit}" if unit else ""
    return f"from {dots[0].mean:.4g} to {dots[-1].mean:.4g}{after}, lowest {low:.4g}, highest {high:.4g}"


def _across(chart: Chart) -> Place:
    span = max(chart.last - chart.first, 1e-9)
    return lambda at: LEFT + (WIDTH - LEFT - RIGHT) * min(max((at - chart.first) / span, 0.0), 1.0)


def _limits(chart: Chart) -> tuple[float, float]:
    dots = [dot for line in chart.lines for dot in line.dots]
    if not dots:
        return 0.0, 1.0
    if chart.log:
        low = min(dot.low if dot.low > 0 else dot.mean for dot in dots)
        high = max(dot.high for dot in dots)
        return low / 1.1, high * 1.1
    low, high = min(dot.low for dot in dots), max(dot.high for dot in dots)
    pad = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return (0.0 if low >= 0 and low < 0.3 * high else low - pad), high + pad


def _up(chart: Chart) -> Place:
    low, high = _limits(chart)
    height = HEIGHT - TOP - BOTTOM
    if chart.log:
        floor, span = math.log(low), math.log(high) - math.log(low)
        return lambda v: HEIGHT - BOTTOM - height * min(max((math.log(max(v, low)) - floor) / span, 0.0), 1.0)
    return lambda v: HEIGHT - BOTTOM - height * min(max((v - low) / (high - low), 0.0), 1.0)


def _draw_axes(root: Element, chart: Chart, x: Place, y: Place) -> None:
    low, high = _limits(chart)
    for tick in axes.log_ticks(low, high) if chart.log else axes.linear_ticks(low, high):
        segment(root, LEFT, y(tick), WIDTH - RIGHT, y(tick), **{"class": "grid"})
        text(root, axes.number(tick), LEFT - 6, y(tick) + 4, "end", **TICK)
    for tick in axes.linear_ticks(chart.first, chart.last, 6):
        text(root, axes.batches(tick), x(tick), HEIGHT - BOTTOM + 14, "middle", **TICK)
    segment(root, LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, **{"class": "axis"})
    text(root, visible(chart.x_name), (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, "middle", **TICK)
    unit = ", ".join(word for word in (chart.unit, "logarithmic" if chart.log else "") if word)
    text(root, f"{visible(chart.title)}{f' ({unit})' if unit else ''}", 4, 12, "start", **{"class": "name"})


def _draw_mark(root: Element, mark: Mark, at: float) -> None:
    drawn = segment(root, at, TOP, at, HEIGHT - BOTTOM, **{"class": f"mark {mark.kind}"})
    SubElement(drawn, "title").text = visible(f"{mark.label}, {mark.more}" if mark.more else mark.label)


def _draw_labels(root: Element, marks: list[Mark], x: Place) -> None:
    """Names above the marks; those that stand close together share one text."""
    groups: list[list[Mark]] = []
    for mark in sorted((m for m in marks if m.kind in LABELLED), key=lambda m: (m.x, LABELLED.index(m.kind))):
        if groups and x(mark.x) - x(groups[-1][0].x) < LABEL_PIXELS:
            groups[-1].append(mark)
        else:
            groups.append([mark])
    free_from = LEFT + NAME_PIXELS
    for group in groups:
        label = visible(" · ".join(mark.label for mark in group), LABEL_CHARS_MAX)
        width = LETTER_PIXELS * len(label)
        at = min(x(group[0].x) + 3, WIDTH - RIGHT - width)
        if at >= free_from:
            text(root, label, at, TOP - 6, "start", **{"class": f"label {group[0].kind}"})
            free_from = at + width + LETTER_PIXELS


def _draw_line(root: Element, line: Curve, colour: int, x: Place, y: Place) -> None:
    for piece in line.pieces:
        if any(dot.high > dot.low for dot in piece):
            SubElement(root, "path", {"class": f"band f{colour}", "d": _band(piece, x, y)})
        if len(piece) == 1:
            circle(root, x(piece[0].x), y(piece[0].mean), 2, **{"class": f"dot f{colour}"})
        else:
            steps = " ".join(f"{x(dot.x):.1f},{y(dot.mean):.1f}" for dot in piece)
            SubElement(root, "polyline", {"class": f"line c{colour}", "points": steps})


def _band(piece: list[Dot], x: Place, y: Place) -> str:
    upper = [f"{x(dot.x):.1f},{y(dot.high):.1f}" for dot in piece]
    lower = [f"{x(dot.x):.1f},{y(dot.low):.1f}" for dot in reversed(piece)]
    return f"M{' L'.join(upper + lower)}Z"


def _draw_bad(root: Element, at: float, times: int) -> None:
    """A wedge on the axis: nothing is drawn where a value is not finite, and a gap says nothing."""
    base = HEIGHT - BOTTOM
    points = f"{at - 4:.1f},{base + 1:.1f} {at + 4:.1f},{base + 1:.1f} {at:.1f},{base - 9:.1f}"
    drawn = SubElement(root, "polygon", {"class": "bad", "points": points})
    SubElement(drawn, "title").text = plural(times, "non-finite batch")
