"""Tables of numbers, with a header or without one, as samples; the dialects build on it. Pure."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from monitor.recorded.importers.content import HEAD_BYTES, Content
from monitor.recorded.importers.imported_run import EndsEarly, Log, Role, Sample
from monitor.recorded.importers.words import number_of

DELIMITERS = ";\t,"  # a table that has both semicolons and commas has decimal commas
HEADER_LINES_MAX = 20  # above it, comments and what a script printed before
ROWS_LOOKED_AT = 5
LINES_LOOKED_AT = 60  # empty ones among them
NAME_CHARS_MAX = 200
QUOTED_LINES_MAX = 100  # of one row: a text in it may hold line ends
DIGITS = re.compile(r"\d+")
DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+(?:[eE][-+]?\d+)?\s*")


class Table(NamedTuple):
    """How a table is written."""

    names: tuple[str, ...]  # of its columns; their numbers from 0 where it has no header
    delimiter: str  # empty: white space, or a single column
    decimal_comma: bool
    header_line: int  # from 1; 0: it has none


def header_of(head: bytes) -> tuple[str, ...]:
    """The column names of a table, stripped; empty for bytes that do not begin like one."""
    found = table_of(head, rows_min=0)
    return found.names if found and found.header_line else ()


def table_of(head: bytes, rows_min: int = 1) -> Table | None:
    """How the table is written that the text begins with; None: it begins like no table.

    Args:
        head: of the file.
        rows_min: as many rows of numbers must follow the header.
    """
    whole = head if len(head) < HEAD_BYTES else head.rpartition(b"\n")[0]
    begins = b"\n".join(whole.split(b"\n", LINES_LOOKED_AT)[:LINES_LOOKED_AT]).decode("utf-8-sig", "replace")
    there = [(number, line) for number, line in enumerate(begins.splitlines(), 1) if line.strip()]
    for at, (number, line) in enumerate(there[:HEADER_LINES_MAX]):
        rows = [row for _, row in there[at + 1 : at + 1 + ROWS_LOOKED_AT]]
        if at > 0 and "loss" not in line.lower():  # something else stands above the table
            continue
        if found := _headed(line, number, rows, rows_min if at == 0 else 2):
            return found
        if at == 0 and (bare := _bare([line, *rows])):
            return bare
    return None


def _headed(line: str, number: int, rows: list[str], rows_min: int) -> Table | None:
    """The table whose header is `line`."""
    header = line.strip().lstrip("#").strip()
    if header.startswith(("{", "[", "|")):
        return None
    delimiter = _delimiter(header)
    names = tuple(name.strip().strip('"') for name in cells_of(header, delimiter))
    words = [name for name in names if any(c.isalpha() for c in name)]
    if not names or len(words) <= len(names) / 2 or max(map(len, names)) >= NAME_CHARS_MAX:
        return None
    if any("=" in name or number_of(name) is not None for name in words) or len(set(names)) < len(names):
        return None
    if not delimiter:
        needed = 2 if len(names) == 1 else 1
        good = [row for row in rows if _all_numbers(cells_of(row, ""), len(names), least=len(names) / 2)]
        sentences = any("loss" in row.lower() for row in rows)  # a row of a table names nothing
        fits = (
            len(good) == len(rows) >= needed
            and not sentences
            and (len(names) == 1 or any("loss" in name.lower() for name in names))
        )
        return Table(names, "", decimal_comma=False, header_line=number) if fits else None
    comma = delimiter != "," and any(DECIMAL_COMMA.fullmatch(c) for row in rows for c in cells_of(row, delimiter))
    good = [row for row in rows if _all_numbers(cells_of(row, delimiter), len(names), comma=comma)]
    if any(_repeats(names, cells_of(row, delimiter)) for row in rows):
        return None
    alike = [row for row in rows if len(cells_of(row.rstrip(delimiter), delimiter)) <= len(names)]
    return Table(names, delimiter, comma, number) if len(good) >= rows_min and 2 * len(alike) >= len(rows) else None


def _repeats(names: Sequence[str], cells: Sequence[str]) -> bool:
    """True where a cell is the name above it with another number: lines of text, such as "Epoche 2, Loss 0,5"."""
    pairs = [(name, cell.strip()) for name, cell in zip(names, cells, strict=False) if DIGITS.search(name)]
    return any(cell != name and DIGITS.sub("", cell) == DIGITS.sub("", name) != "" for name, cell in pairs)


def _bare(lines: list[str]) -> Table | None:
    """A table without a header: every line has as many numbers."""
    delimiter = _delimiter(lines[0])
    count = len(cells_of(lines[0], delimiter))
    comma = delimiter != "," and any(DECIMAL_COMMA.fullmatch(c) for row in lines for c in cells_of(row, delimiter))
    bare = len(lines) > 1 and all(
        _all_numbers(cells_of(line, delimiter), count, least=count, comma=comma) for line in lines
    )
    return Table(tuple(map(str, range(count))), delimiter, comma, 0) if bare else None


def _all_numbers(cells: Sequence[str], count: int, *, least: float = 1, comma: bool = False) -> bool:
    """True where there are `count` cells, `least` of them numbers."""
    cells = cells[:-1] if len(cells) == count + 1 and not cells[-1].strip() else cells
    values = [number_of(cell.replace(",", ".") if comma else cell) for cell in cells]
    return len(cells) == count and sum(value is not None for value in values) >= least


def _delimiter(line: str) -> str:
    return next((d for d in DELIMITERS if d in line), "")


def cells_of(line: str, delimiter: str) -> list[str]:
    """The cells of a line, quoted ones without their quotes; an empty delimiter is white space."""
    if not delimiter:
        return line.split()
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def table_log(content: Content, roles: dict[str, Role] | None = None, granularity: str = "") -> Log:
    """The rows of a table; `roles` of the columns whose meaning is fixed."""
    table = table_of(content.head, rows_min=0)
    if table is None:  # recognised by its header alone
        return Log([], roles or {}, granularity)
    samples = _Rows(content, table).samples()
    return Log(samples, roles or {}, granularity, names=tuple(name for name in table.names if name))


class _Rows:
    """Reads the rows of a table."""

    def __init__(self, content: Content, table: Table) -> None:
        self.content, self.table, self.names = content, table, list(table.names)
        self.delimiter = table.delimiter.encode() or None

    def samples(self) -> Iterator[Sample]:
        """The numbers of every row by column.

        Cells that are empty or no number are left out; a header in the middle (an appended restart) begins a new table.
        Raises EndsEarly where the last row is cut.
        """
        names, delimiter, first = self.names, self.delimiter, self.table.header_line
        plain, count = bool(delimiter) and not self.table.decimal_comma and "" not in names, len(names)
        lines = enumerate(self.content.lines(), 1)
        short: Sample | None = None
        for number, line in lines:
            cells = line.split(delimiter)
            if short is not None:
                yield short
                short = None
            try:
                if plain and len(cells) >= count and number > first:
                    yield number, dict(zip(names, map(float, cells), strict=False))
                    continue
            except ValueError:
                pass  # a cell is no plain number: the row is read cell by cell
            if number <= first or not line:
                continue
            texts = self._texts(line, cells, lines)
            values = self._numbers(names, texts)
            if values and len(cells) < count:
                short = number, values
            elif values:
                yield number, values
            elif set(names).intersection(texts):
                names = self._header(texts)
        if short is not None and self.content.cut:
            raise EndsEarly(f"line {short[0]} ends in the middle")
        if short is not None:
            yield short

    def _header(self, texts: list[str]) -> list[str]:
        return [text.strip().lstrip("#").strip() for text in texts]

    def _texts(self, line: bytes, cells: list[bytes], lines: Iterator[tuple[int, bytes]]) -> list[str]:
        """The cells of a row whose cells may be quoted, and may hold line ends then."""
        if b'"' not in line or not self.delimiter:
            return [cell.decode("utf-8", "replace") for cell in cells]
        for _ in range(QUOTED_LINES_MAX):
            if line.count(b'"') % 2 == 0:
                break
            _, more = next(lines, (0, b'"'))
            line += b"\n" + more
        return cells_of(line.decode("utf-8", "replace"), self.table.delimiter)

    def _numbers(self, names: list[str], texts: list[str]) -> dict[str, float]:
        """The cells that are numbers, by their column; one without a name is an index."""
        comma, values = self.table.decimal_comma, {}
        for name, text in zip(names, texts, strict=False):
            if not text or not name:
                continue
            try:
                values[name] = float(text)
            except ValueError:
                number = number_of(text.strip("\0 ").replace(",", ".") if comma else text.strip("\0 "))
                if number is not None:
                    values[name] = number
        return values
