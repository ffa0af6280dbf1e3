"""One JSON document of series: a Keras history, or lists by name, perhaps under the name of a run."""

from __future__ import annotations

import math
import re
from typing import Any

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.documents import DEPTH_MAX, flat, parsed
from monitor.recorded.importers.imported_run import Log, NotALog, Sample, UnreadableLog

LENGTH_MIN = 2


BEGINS = re.compile(rb'\s*(?:\{\s*"|\[\s*\{)')


@register("json_history", rank=90, recognises=lambda head, _: bool(BEGINS.match(head)))
def json_history(content: Content, name: str) -> Log:
    """The first object that holds lists of numbers with a loss among them, or a list of objects."""
    try:
        document = parsed(content.whole())
    except (ValueError, RecursionError) as error:
        why = f"is neither JSON lines nor one whole JSON document ({error}); copy it again"
        raise UnreadableLog(name, why) from error
    samples = _objects(document) or _series(document, 0, "loss") or _series(document, 0, "")
    if not samples:
        raise NotALog(name, "no key is a training loss: the document holds no list of numbers")
    return Log(samples)


def _objects(document: Any) -> list[Sample]:
    """A list of objects, each a row."""
    if not isinstance(document, list):
        return []
    return [(i, flat(row)) for i, row in enumerate(document, 1) if isinstance(row, dict)]


def _series(node: Any, depth: int, word: str) -> list[Sample]:
    """Lists side by side as rows, where one has the word in its name: the i-th numbers belong together.

    Shorter lists (validations) end earlier.
    """
    if not isinstance(node, dict) or depth > DEPTH_MAX:
        return []
    lists = {key: value for key, value in node.items() if isinstance(value, list) and len(value) >= LENGTH_MIN}
    lists = {key: _ended(value) for key, value in lists.items()}
    longest = max((len(v) for k, v in lists.items() if word in k.lower() and (word or _numbers(v))), default=0)
    if longest:
        return [
            (i + 1, flat({key: value[i] for key, value in lists.items() if i < len(value)})) for i in range(longest)
        ]
    for value in node.values():
        if found := _series(value, depth + 1, word):
            return found
    return []


def _ended(values: list[Any]) -> list[Any]:
    """A list that has numbers, then only null: its writer has no word for NaN."""
    known = [at for at, value in enumerate(values) if value is not None]
    gone = 0 < len(known) < len(values) and known[-1] == len(known) - 1
    return [*values[: len(known)], *[math.nan] * (len(values) - len(known))] if gone else values


def _numbers(values: list[Any]) -> bool:
    return any(isinstance(value, (int, float)) for value in values[:LENGTH_MIN])
