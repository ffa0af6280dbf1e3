"""JSON documents and JSON lines as samples; the dialects build on it. Pure."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from monitor.recorded.importers.imported_run import Sample

NONFINITE_NUMBERS = {"nan": float("nan"), "inf": float("inf"), "infinity": float("inf"), "-inf": float("-inf")}
NONFINITE_NUMBERS["-infinity"] = NONFINITE_NUMBERS["-inf"]
DEPTH_MAX = 4


def parsed(text: bytes | str) -> Any:
    """A JSON value; NaN and Infinity, which Python and JavaScript loggers write, are taken too. Raises ValueError."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return json.loads(text)  # slower, and takes NaN


def lines_of(data: bytes) -> tuple[list[tuple[int, dict[str, Any]]], str]:
    """Every JSON object of a file of one an line with its line number, and why the last was left out (empty: not).

    Lines that are not JSON objects are passed over: loggers print between them.
    """
    found: list[tuple[int, dict[str, Any]]] = []
    wrong, last = 0, 0
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        last = number
        try:
            value = parsed(line)
        except (ValueError, RecursionError):
            wrong = number
            continue
        if isinstance(value, dict):
            found.append((number, value))
    return found, f"line {last} ends in the middle" if wrong and wrong == last else ""


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
    """The numbers of an object by their path, `a/b`; lists and texts are left out, but "NaN" is a number."""
    values: dict[str, float] = {}
    for key, item in value.items():
        if not key:
            continue
        if isinstance(item, (int, float)) and not isinstance(item, bool):
            values[prefix + key] = _float(item)
        elif isinstance(item, str) and item.lower() in NONFINITE_NUMBERS:
            values[prefix + key] = NONFINITE_NUMBERS[item.lower()]
        elif isinstance(item, dict) and depth < DEPTH_MAX:
            values.update(flat(item, f"{prefix}{key}/", depth + 1))
    return values


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # an integer of more than 308 digits
        return float("inf")


def samples_of(objects: list[tuple[int, dict[str, Any]]]) -> list[Sample]:
    """The numbers of every object."""
    return [(line, flat(value)) for line, value in objects]
