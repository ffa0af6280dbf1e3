"""Tables and foreign texts as the terminal shows them."""

from __future__ import annotations

import sys

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
