"""Tables and JSON lines of one number each, with its name beside it: MLflow, Comet, Aim, many scripts' own loggers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.documents import first_object, lines_of
from monitor.recorded.importers.imported_run import Log, Role, Sample
from monitor.recorded.importers.tables import DECIMAL_COMMA, cells_of, header_of
from monitor.recorded.importers.words import number_of

NAMES = ("metric", "metric_name", "metricname", "metric.name", "name", "key", "tag", "series", "variable")
VALUES = ("value", "values", "metric_value", "metricvalue", "metric.value")
STEPS = ("step", "steps", "global_step", "iteration", "iter", "epoch")
NAN_FLAG = "is_nan"  # MLflow writes 0 for the value then


class Fields(NamedTuple):
    """Where name, number and step stand."""

    name: str
    value: str
    step: str  # empty: nowhere
    nan_flag: str


def fields_of(names: Iterable[str]) -> Fields | None:
    """The fields of a long form by their names; None: it is none."""
    there = {name.strip().lower(): name for name in names}
    first = [next((there[word] for word in words if word in there), "") for words in (NAMES, VALUES, STEPS)]
    plain = not any("loss" in name for name in there)
    return Fields(first[0], first[1], first[2], there.get(NAN_FLAG, "")) if plain and first[0] and first[1] else None


def rows_of_long(objects: Iterable[tuple[int, Mapping[str, Any]]], fields: Fields) -> Iterator[Sample]:
    """A row for each step, or for as many numbers as have different names."""
    line, row, at = 0, dict[str, float](), None
    for number, cells in objects:
        name, value = str(cells.get(fields.name) or ""), _number(cells.get(fields.value))
        if str(cells.get(fields.nan_flag) or "").lower() in ("1", "true"):
            value = math.nan
        step = _number(cells.get(fields.step))
        if not name or value is None or number_of(name) is not None:
            continue
        if row and (step != at or name in row):
            yield line, row
            row = {}
        if not row:
            line, at, row = number, step, {} if step is None else {"step": step}
        row[name] = value
    if row:
        yield line, row


def _number(cell: object) -> float | None:
    return float(cell) if isinstance(cell, (int, float)) else number_of(cell) if isinstance(cell, str) else None


def _table(head: bytes, _: str) -> bool:
    return fields_of(header_of(head)) is not None


def _objects(head: bytes, _: str) -> bool:
    first = first_object(head, frozenset()) if head.lstrip().startswith(b"{") else {}
    fields = fields_of(first)
    return fields is not None and isinstance(first[fields.name], str) and _number(first[fields.value]) is not None


@register("long_table", rank=76, recognises=_table)
def long_table(content: Content, _: str) -> Log:
    """Each line is one number."""
    delimiter = next((each for each in ";\t," if each.encode() in content.head.partition(b"\n")[0]), ",")
    return _log(partial(_cells, content, delimiter), header_of(content.head))


@register("long_jsonl", rank=76, recognises=_objects)
def long_jsonl(content: Content, _: str) -> Log:
    """Each object is one number."""
    return _log(partial(lines_of, content), first_object(content.head, frozenset()))


def _log(objects: Any, names: Iterable[str]) -> Log:
    fields = fields_of(names)
    return Log(rows_of_long(objects(), fields) if fields else [], {"step": Role.STEP}, "batch")


def _cells(content: Content, delimiter: str) -> Iterator[tuple[int, dict[str, str]]]:
    names: list[str] = []
    for number, line in enumerate(content.lines(), 1):
        cells = cells_of(line.decode("utf-8", "replace").replace("\0", ""), delimiter)
        if not names:
            names = [name.strip().lstrip("#").strip() for name in cells]
        else:
            comma = delimiter != ","
            cells = [cell.replace(",", ".") if comma and DECIMAL_COMMA.fullmatch(cell) else cell for cell in cells]
            yield number, dict(zip(names, cells, strict=False))
