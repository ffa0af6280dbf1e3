"""CatBoost's `catboost_training.json`: a list of iterations, each with the losses of the learning and the test sets."""

from __future__ import annotations

import re
from typing import Any

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.documents import flat, parsed
from monitor.recorded.importers.imported_run import Log, Role, UnreadableLog

MARK = re.compile(rb'"(?:learn_metrics|test_metrics|launch_mode)"')


def _catboost(head: bytes, _: str) -> bool:
    return head.lstrip().startswith(b"{") and b'"meta"' in head and bool(MARK.search(head))


@register("catboost_json", rank=10, recognises=_catboost)
def catboost_json(content: Content, name: str) -> Log:
    """The first metric of the learning set is the loss that is made smaller."""
    try:
        document = parsed(content.whole())
    except (ValueError, RecursionError) as error:
        raise UnreadableLog(name, f"is not a complete JSON document ({error}); copy it again") from error
    rows = document.get("iterations") if isinstance(document, dict) else None
    if not isinstance(rows, list):
        raise UnreadableLog(name, "has no list of iterations")
    samples = ((i, _numbers(row)) for i, row in enumerate(rows, 1) if isinstance(row, dict))
    return Log(samples, {"iteration": Role.STEP, "learn/0": Role.LOSS, "test/0": Role.METRIC}, "batch")


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    lists = {key: value for key, value in row.items() if isinstance(value, list)}
    named = {f"{key}/{at}": item for key, value in lists.items() for at, item in enumerate(value)}
    return flat({"iteration": row.get("iteration"), **named})
