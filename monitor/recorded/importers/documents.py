"""JSON documents and JSON lines as samples; the dialects build on it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from monitor.recorded.importers.content import Content
from monitor.recorded.importers.imported_run import EndsEarly, Sample
from monitor.recorded.importers.words import number_of

DEPTH_MAX = 4
BARE = re.compile(rb"([:\[,]\s*)([-+]?(?:nan(?:\([\w-]*\))?|inf(?:inity)?|1\.?#\w+))(?=\s*[,}\]])", re.IGNORECASE)
_decode = msgspec.json.Decoder().decode


def parsed(text: bytes | str) -> Any:
    """A JSON value; NaN and infinity, however a logger writes them, are taken too. Raises ValueError."""
    try:
        return _decode(text)
    except msgspec.DecodeError:
        pass
    try:
        return json.loads(text)  # slower, and takes NaN
    except ValueError:
        data = text.encode() if isinstance(text, str) else text
        quoted = BARE.sub(rb'\1"\2"', data)
        if quoted == data:
            raise
        return json.loads(quoted)


def lines_of(content: Content) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every JSON object of a file of one a line, with its line number. Raises EndsEarly for a last line that is cut.

    Lines that are not JSON objects are passed over: loggers print between them.
    """
    wrong, last = 0, 0
    for number, line in enumerate(content.lines(), 1):
        if not line or line.isspace():
            continue
        last = number
        try:
            value = parsed(line)
        except (ValueError, RecursionError):
            wrong = number
            continue
        if isinstance(value, dict):
            yield number, value
    if wrong and wrong == last:
        raise EndsEarly(f"line {last} ends in the middle")


def first_object(head: bytes, wanted: frozenset[str]) -> dict[str, Any]:
    """The first JSON line of `head` that has one of the keys; empty where there is none."""
    for line in head.splitlines()[:200]:
        if not line.startswith(b"{"):
            continue
        try:
            value = parsed(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and (not wanted or wanted & value.keys()):
            return value
    return {}


def flat(value: dict[str, Any], prefix: str = "", depth: int = 0) -> dict[str, float]:
    """The numbers of an object by their path, `a/b`, those that are written as texts included; lists are left out."""
    values: dict[str, float] = {}
    for key, item in value.items():
        if not key:
            continue
        kind = type(item)
        if kind is float:
            values[prefix + key] = item
        elif kind is int:
            values[prefix + key] = _float(item)
        elif kind is str:
            number = number_of(item)
            if number is not None:
                values[prefix + key] = number
        elif kind is dict and depth < DEPTH_MAX:
            values.update(flat(item, f"{prefix}{key}/", depth + 1))
    return values


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # an integer of more than 308 digits
        return float("inf")


def samples_of(objects: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[Sample]:
    """The numbers of every object."""
    return ((line, flat(value)) for line, value in objects)
