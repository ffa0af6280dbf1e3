"""The trade-off as a picture: lines of text for a terminal, or one SVG. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement

from monitor.recorded.tuning.search import Tuned
from monitor.report.svg_elements import circle, document, segment, text, written

COLUMNS, LINES = 60, 16
WIDTH, HEIGHT, MARGIN = 640, 400, 56
INNER, UPPER = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN
TRIED, HELD_OUT, BASE, CHOSEN = "·", "o", "+", "●"
COLOURS = {TRIED: "#b8b8b8", HELD_OUT: "#c05621", BASE: "#4a5568", CHOSEN: "#2b6cb0"}
LEGEND = {
    TRIED: "a point that was tried",
    HELD_OUT: "held out: chosen without the runs that judge it",
    BASE: "the policy the search began with",
    CHOSEN: "chosen",
}
Mark = tuple[float, float, str]  # share of healthy runs with a false alarm, recall, which


def marks(tuned: Tuned) -> list[Mark]:
    """What is drawn, the most important last, so that it lies on top."""
    tried = [(counted.warned_share, counted.recall, TRIED) for _, counted in tuned.tried]
    held_out = [(one.held_out.warned_share, one.held_out.recall, HELD_OUT) for one in tuned.curve]
    base, chosen = tuned.base_counted, tuned.all_runs
    ends = [(base.warned_share, base.recall, BASE), (chosen.warned_share, chosen.recall, CHOSEN)]
    return [*tried, *held_out, *ends]


def text_picture(tuned: Tuned) -> list[str]:
    """Recall upwards, the share of healthy runs with a false alarm to the right."""
    drawn = marks(tuned)
    right = _right(drawn)
    grid = [[" "] * COLUMNS for _ in range(LINES)]
    for share, recall, mark in drawn:
        grid[round((1.0 - recall) * (LINES - 1))][round(share / right * (COLUMNS - 1))] = mark
    heads = {0: "100 %", LINES // 2: "recall", LINES - 1: "  0 %"}
    lines = [f"{heads.get(n, ''):>7} |{''.join(cells)}" for n, cells in enumerate(grid)]
    foot = f"0 %{'healthy runs with a false alarm':^{COLUMNS - 9}}{right:.1%}"
    return [*lines, " " * 8 + "+" + "-" * COLUMNS, " " * 9 + foot, *_legend(f"{mark} " for mark in LEGEND)]


def _legend(signs: Iterable[str]) -> list[str]:
    return [" " * 9 + sign + word for sign, word in zip(signs, LEGEND.values(), strict=True)]


def _right(drawn: Iterable[Mark]) -> float:
    return max(*(share for share, _, _ in drawn), 0.02) * 1.05


def svg_picture(tuned: Tuned) -> str:
    """The same as an SVG document of its own."""
    drawn = marks(tuned)
    right = _right(drawn)
    root = document(WIDTH, HEIGHT, **{"font-family": "sans-serif", "font-size": "12"})
    SubElement(root, "rect", {"width": "100%", "height": "100%", "fill": "white"})
    _draw_axes(root, right)
    for share, recall, mark in drawn:
        x, y = MARGIN + share / right * INNER, MARGIN + (1.0 - recall) * UPPER
        circle(root, x, y, 3 if mark == TRIED else 5, fill=COLOURS[mark])
    _draw_legend(root)
    return written(root, html=False) + "\n"


def _draw_axes(root: Element, right: float) -> None:
    segment(root, MARGIN, MARGIN, MARGIN, HEIGHT - MARGIN, stroke="#333")
    segment(root, MARGIN, HEIGHT - MARGIN, WIDTH - MARGIN, HEIGHT - MARGIN, stroke="#333")
    text(root, "bad runs found", MARGIN, MARGIN - 16, "start")
    text(root, "healthy runs with a false alarm", WIDTH - MARGIN, HEIGHT - 12, "end")
    for n in range(5):
        text(root, f"{n * 25} %", MARGIN - 8, MARGIN + UPPER * (1.0 - n / 4), "end")
        text(root, f"{right * n / 4:.1%}", MARGIN + INNER * n / 4, HEIGHT - MARGIN + 18, "middle")


def _draw_legend(root: Element) -> None:
    for n, (mark, label) in enumerate(LEGEND.items()):
        circle(root, MARGIN + 12, HEIGHT - MARGIN - 64 + 16 * n, 4, fill=COLOURS[mark])
        text(root, label, MARGIN + 22, HEIGHT - MARGIN - 60 + 16 * n, "start")
