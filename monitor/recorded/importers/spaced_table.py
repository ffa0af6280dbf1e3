"""Tables printed for people, with frames or with two or more spaces between the names: spaCy, fastai, pandas, rich."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.imported_run import Log, Role, Sample
from monitor.recorded.importers.words import number_of

BETWEEN = re.compile(r"\s{2,}|\t+")
FRAME = re.compile(r"[|\u2502\u2503\u2551]")  # the upright lines of a frame
RULE = re.compile(r"[\s=+|:\u2500-\u257f-]*")
COLUMNS_MIN = 3
FRAMED_MIN = 2
STEPS = {"#": Role.STEP, "E": Role.EPOCH, "Itn": Role.EPOCH, "Itn.": Role.EPOCH}
SCORES = re.compile(r"[A-Z_]+_[FPR]|.*_(?:ACC|AUC|UAS|LAS)|SCORE")


def _header(line: str) -> list[str]:
    """The names of the columns; empty: the line is no header."""
    framed = _framed(line)
    first = line.strip().replace("E #", "E  #", 1)  # spaCy leaves one space there where the epoch is short
    names = framed or BETWEEN.split(first)
    words = all(number_of(name) is None and len(name) < 40 and ":" not in name for name in names)
    enough = len(names) >= (FRAMED_MIN if framed else COLUMNS_MIN)
    return names if enough and words and any("loss" in name.lower() for name in names) else []


def _framed(line: str) -> list[str]:
    """The cells of a line of a table with frames; empty: it is none."""
    cells = FRAME.split(line.strip())
    return [cell.strip() for cell in cells[1:-1]] if len(cells) > FRAMED_MIN and not cells[0] + cells[-1] else []


def _spaced(head: bytes, _: str) -> bool:
    lines = [line for line in head.decode("utf-8", "replace").splitlines() if not RULE.fullmatch(line)]
    return any((names := _header(line)) and len(_numbers(names, after)) > 1 for line, after in pairwise(lines))


@register("spaced_table", rank=91, recognises=_spaced)
def spaced_table(content: Content, _: str) -> Log:
    """Each line with as many cells as the header has names."""
    lines = map(_header, content.head.decode("utf-8", "replace").splitlines())
    names = next((found for found in lines if found), [])
    scores = {name: Role.METRIC for name in names if SCORES.fullmatch(name)}
    return Log(_samples(content), {name: role for name, role in STEPS.items() if name in names} | scores)


def _samples(content: Content) -> Iterator[Sample]:
    names: list[str] = []
    for number, raw in enumerate(content.lines(), 1):
        line = raw.decode("utf-8", "replace")
        if found := _header(line):
            names = found
        elif names and (values := _numbers(names, line)):
            yield number, values


def _numbers(names: list[str], line: str) -> dict[str, float]:
    """The numbers of a row; a row of a frame has its number before them."""
    cells = _framed(line) or line.split()
    cells = cells[1:] if len(cells) == len(names) + 1 else cells
    if len(cells) != len(names):
        return {}
    return {name: number for name, cell in zip(names, cells, strict=True) if (number := number_of(cell)) is not None}
