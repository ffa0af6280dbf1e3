"""Tables, times and durations as the terminal shows them."""

from __future__ import annotations

import sys
from datetime import datetime, timezone

FILE_COLUMNS = 1000  # of a table that goes to a file or a pipe: nothing there wants lines broken


def print_table(heads: list[str], rows: list[list[str]]) -> None:
    """Print the rows below their heads, if there are any; broken to the terminal's width, never in a file or a pipe."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=bool(heads), pad_edge=False, padding=(0, 2, 0, 0))
    for head in heads or [""] * len(rows[0]):
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else FILE_COLUMNS).print(table)


def printable(text: str) -> str:
    """The text with what would move the cursor or change colours shown as an escape: titles may hold anything."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def duration(seconds: float) -> str:
    """The largest two units that matter: `9.6 days`, `4 h 53 min`, `12 s`."""
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:.1f} days"
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{seconds:.0f} s" if seconds < 120 else f"{minutes} min"


def ago(at_s: float | None, now_s: float) -> str:
    """How long ago, of a Unix time; `-` where it is not known."""
    return "-" if at_s is None else f"{duration(max(now_s - at_s, 0.0))} ago"


def moment(at_s: float | None, now_s: float) -> str:
    """The time in UTC and how far off it is; `-` where it is not known."""
    if at_s is None:
        return "-"
    off = f"in {duration(at_s - now_s)}" if at_s >= now_s else f"{duration(now_s - at_s)} ago"
    return f"{datetime.fromtimestamp(at_s, timezone.utc):%Y-%m-%d %H:%M} UTC ({off})"
