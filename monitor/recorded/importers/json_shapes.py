"""The shapes in which one JSON document holds series of numbers, each as rows. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from monitor.recorded.importers.documents import DEPTH_MAX, flat
from monitor.recorded.importers.imported_run import Sample
from monitor.recorded.importers.long_form import fields_of, rows_of_long

LENGTH_MIN = 2
PLACE = re.compile(r"(|e|ep|epoch|step|it|iter|iteration|batch)[ _:/-]*(\d+)", re.IGNORECASE)
WORDS = {"": "epoch", "e": "epoch", "ep": "epoch", "it": "iter"}
POINTS = (("steps", "values"), ("step", "value"), ("x", "y"))

Object = dict[str, Any]


def rows_in(document: Any) -> list[Sample]:
    """The rows of the first shape that fits, a loss among them; without a loss, of any lists."""
    found = _objects(document)
    for shape in (_numbered, _indexed, _points, _lists, _listed):
        found = found or _first(document, shape, "loss")
    return found or _first(document, _lists, "")


def _objects(document: Any) -> list[Sample]:
    """A list of objects: each is a row, or one number with its name."""
    if not isinstance(document, list):
        return []
    objects = [(i, row) for i, row in enumerate(document, 1) if isinstance(row, dict)]
    fields = fields_of(objects[0][1]) if objects else None
    if fields and isinstance(objects[0][1][fields.name], str):
        return list(rows_of_long(objects, fields))
    return [(i, flat(row)) for i, row in objects]


def _first(node: Any, shape: Callable[[Object, str], list[Sample]], word: str, depth: int = 0) -> list[Sample]:
    """The rows of the outermost object that has the shape."""
    if not isinstance(node, dict) or depth > DEPTH_MAX:
        return []
    if found := shape(node, word):
        return found
    return next((found for value in node.values() if (found := _first(value, shape, word, depth + 1))), [])


def _numbered(node: Object, word: str) -> list[Sample]:
    """Objects under the numbers of their epochs: `{"1": {"loss": ..}, "2": ..}`, `{"epoch_1": ..}`."""
    places = [(found, value) for key, value in node.items() if (found := PLACE.fullmatch(key)) and value]
    if len(places) < LENGTH_MIN or not all(isinstance(value, dict) for _, value in places):
        return []
    rows = []
    for number, (place, value) in enumerate(places, 1):
        name = place[1].lower()
        rows.append((number, {WORDS.get(name, name): float(place[2]), **flat(value)}))
    return rows if any(word in name.lower() for _, row in rows for name in row) else []


def _indexed(node: Object, word: str) -> list[Sample]:
    """Numbers under their index, under the name of the column: `{"loss": {"0": .., "1": ..}}`, as pandas writes it."""
    columns = {name: value for name, value in node.items() if isinstance(value, dict) and len(value) >= LENGTH_MIN}
    columns = {name: value for name, value in columns.items() if all(map(str.isdigit, value))}
    if not any(word in name.lower() for name in columns):
        return []
    indexes = dict.fromkeys(index for value in columns.values() for index in value)
    rows = [{name: value[index] for name, value in columns.items() if index in value} for index in indexes]
    return [(number, flat(_gone(row, columns))) for number, row in enumerate(rows, 1)]


def _gone(row: Object, columns: Object) -> Object:
    """The row, NaN in the place of null where the column had numbers: its writer has no word for NaN."""
    known = {name for name, value in columns.items() if any(isinstance(one, (int, float)) for one in value.values())}
    return {name: math.nan if value is None and "loss" in name.lower() and name in known else value
            for name, value in row.items()}  # fmt: skip


def _points(node: Object, word: str) -> list[Sample]:
    """Two lists for each name, of steps and values, as Sacred, ClearML and Plotly write them."""
    rows: dict[float, dict[str, float]] = {}
    for name, step, value in _all_points(node, ""):
        rows.setdefault(step, {"step": step})[name] = value
    found = list(enumerate(rows.values(), 1))
    return found if any(word in name.lower() for _, row in found for name in row) else []


def _all_points(node: Object, path: str, depth: int = 0) -> Iterator[tuple[str, float, float]]:
    for steps, values in POINTS:
        at, numbers = node.get(steps), node.get(values)
        if isinstance(at, list) and isinstance(numbers, list) and len(at) == len(numbers) >= LENGTH_MIN and path:
            for step, value in zip(at, numbers, strict=True):
                both = flat({"step": step, "value": math.nan if value is None else value})
                if len(both) == 2:
                    yield path, both["step"], both["value"]
            return
    for key, value in node.items():
        if isinstance(value, dict) and depth < DEPTH_MAX:
            yield from _all_points(value, f"{path}/{key}" if path else key, depth + 1)


def _lists(node: Object, word: str) -> list[Sample]:
    """Lists side by side, where one has the word in its name: the i-th numbers belong together.

    Shorter lists (validations) end earlier.
    """
    lists = {key: value for key, value in node.items() if isinstance(value, list) and len(value) >= LENGTH_MIN}
    lists = {key: _ended(value) for key, value in lists.items()}
    longest = max((len(v) for k, v in lists.items() if word in k.lower() and (word or _numbers(v))), default=0)
    return [(i + 1, flat({key: value[i] for key, value in lists.items() if i < len(value)})) for i in range(longest)]


def _listed(node: Object, word: str) -> list[Sample]:
    """A list of objects under some name: `{"history": [{"epoch": 1, "loss": ..}, ..]}`."""
    for value in node.values():
        rows = _objects(value)
        if len(rows) >= LENGTH_MIN and any(word in name.lower() for _, row in rows for name in row):
            return rows
    return []


def _ended(values: list[Any]) -> list[Any]:
    """A list that has numbers, then only null: its writer has no word for NaN."""
    known = [at for at, value in enumerate(values) if value is not None]
    gone = 0 < len(known) < len(values) and known[-1] == len(known) - 1
    return [*values[: len(known)], *[math.nan] * (len(values) - len(known))] if gone else values


def _numbers(values: list[Any]) -> bool:
    return any(isinstance(value, (int, float)) for value in values[:LENGTH_MIN])
