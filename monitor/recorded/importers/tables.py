"""Delimited tables (CSV, TSV) as samples; the dialects build on it. Pure."""

from __future__ import annotations

import csv
import io

from monitor.recorded.importers.imported_run import Sample, UnreadableLog

DELIMITERS = ",;\t"


def header_of(head: bytes) -> tuple[str, ...]:
    """The column names of a table, stripped; empty for bytes that do not begin like one."""
    line = head.decode("utf-8-sig", "replace").lstrip().partition("\n")[0].strip()
    delimiter = _delimiter(line)
    if not delimiter or line.startswith(("{", "[", "|")):
        return ()
    names = tuple(name.strip().strip('"') for name in line.split(delimiter))
    words = [name for name in names if any(c.isalpha() for c in name)]
    return names if len(words) > len(names) / 2 and max(map(len, names)) < 200 else ()


def begins_like_a_table(head: bytes) -> bool:
    """True where a header is followed by a line of as many cells, one of them a number."""
    names = header_of(head)
    lines = [line for line in head.decode("utf-8-sig", "replace").split("\n") if line.strip()][:2]
    if len(names) < 2 or len(lines) < 2 or not _delimiter(lines[0]):
        return False
    cells = lines[1].split(_delimiter(lines[0]))
    return len(cells) == len(names) and bool(numbers(list(names), cells)) and not numbers(list(names), list(names))


def _delimiter(line: str) -> str:
    return max(DELIMITERS, key=line.count) if any(d in line for d in DELIMITERS) else ""


def read_table(data: bytes, name: str) -> tuple[list[Sample], str]:
    """The numbers of every line by column, and why the last line was left out (empty: it was not).

    Cells that are empty or no number are left out; a header in the middle (an appended restart) begins a new table.
    """
    text = data.decode("utf-8-sig", "replace")
    lines = csv.reader(io.StringIO(text.lstrip(), newline=""), delimiter=_delimiter(text.lstrip().partition("\n")[0]))
    samples: list[Sample] = []
    header: list[str] = []
    cells: list[str] = []
    try:
        for cells in lines:
            if not header or cells == header:
                header = header or list(cells)
                names = [cell.strip().strip('"') for cell in header]
            elif cells:
                samples.append((lines.line_num, numbers(names, cells)))
    except csv.Error as error:
        raise UnreadableLog(name, f"line {lines.line_num} is not CSV ({error})") from error
    if samples and not text.endswith("\n") and len(cells) < len(header):
        samples.pop()
        return samples, f"line {lines.line_num} ends in the middle"
    return samples, ""


def numbers(names: list[str], cells: list[str]) -> dict[str, float]:
    """The cells that are numbers, NaN and infinity included, by their column; one without a name is an index."""
    try:
        return {name: float(cell) for name, cell in zip(names, cells, strict=False) if cell and name}
    except ValueError:  # a word is among them
        return _numbers_among_words(names, cells)


def _numbers_among_words(names: list[str], cells: list[str]) -> dict[str, float]:
    values = {}
    for name, cell in zip(names, cells, strict=False):
        if cell and name and not cell.isspace():
            try:
                values[name] = float(cell)
            except ValueError:  # a word, and not a number
                continue
    return values
