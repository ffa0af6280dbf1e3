"""Draws where the panels of a dashboard are, out of its JSON: a picture for the docs, not one of Grafana."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

UNIT, LINE, GAP = 40, 18, 4  # pixels of a column, of a row of the grid, between two panels
KINDS = {"timeseries": "lines", "stat": "number", "table": "table", "state-timeline": "states"}


def drawn(board: dict[str, Any]) -> str:
    """The dashboard as an SVG."""
    panels = board["panels"]
    height = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in panels) * LINE + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {24 * UNIT + 20} {height}" font-family="sans-serif">',
        f'<rect width="{24 * UNIT + 20}" height="{height}" fill="#f4f5f7"/>',
        f'<text x="10" y="24" font-size="16" font-weight="bold" fill="#222">{escape(board["title"])}</text>',
    ]
    return "\n".join([*parts, *map(_panel, panels), "</svg>"]) + "\n"


def _panel(panel: dict[str, Any]) -> str:
    at = panel["gridPos"]
    x, y = 10 + at["x"] * UNIT, 34 + at["y"] * LINE
    title = escape(panel["title"])
    if panel["type"] == "row":
        return f'<text x="{x}" y="{y + 13}" font-size="13" font-weight="bold" fill="#444">{title}</text>'
    width, height = at["w"] * UNIT - GAP, at["h"] * LINE - GAP
    kind = KINDS[panel["type"]]
    unit = panel["fieldConfig"]["defaults"].get("unit", "")
    more = f"{kind}, {unit}" if unit not in ("", "short") else kind
    size = 11 if width > 200 else 9
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="3" fill="#fff" stroke="#ccd"/>'
        f'<text x="{x + 6}" y="{y + 15}" font-size="{size}" fill="#222">{title}</text>'
        f'<text x="{x + 6}" y="{y + 29}" font-size="9" fill="#667">{escape(more)}</text>'
    )
