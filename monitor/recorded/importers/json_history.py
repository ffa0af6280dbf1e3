"""One JSON document of series: a Keras history, lists by name, objects by epoch, a list of objects."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from monitor.recorded.importers import register
from monitor.recorded.importers.content import HEAD_BYTES, Content
from monitor.recorded.importers.documents import parsed
from monitor.recorded.importers.imported_run import Log, NotALog, UnreadableLog
from monitor.recorded.importers.json_shapes import LENGTH_MIN, rows_in

OPEN = (b"{", b"[", b",", b":")  # how a line ends that goes on below
BEGINS = re.compile(rb'\s*(?:\{\s*"|\[\s*\{)')


def _document(head: bytes, _: str) -> bool:
    """A document, and no JSON lines: of these the first one is a whole object."""
    first = head.strip().partition(b"\n")[0].rstrip()
    if not BEGINS.match(head):
        return False
    return first.startswith(b"[") or first.endswith(OPEN) or _holds_rows(head) or not first.endswith(b"}")


def _holds_rows(head: bytes) -> bool:
    """One whole document on a line of its own, with rows in it: it looks like the first line of JSON lines."""
    text = head.strip()
    if b"\n" in text or len(head) >= HEAD_BYTES:
        return False
    try:
        document = parsed(text)
        rows = rows_in(document)
    except (ValueError, RecursionError):
        return False
    return len(rows) >= LENGTH_MIN and not _is_row(document, "loss" if _has_loss(rows[0][1]) else "")


def _has_loss(names: Iterable[str]) -> bool:
    return any("loss" in name.lower() for name in names)


def _is_row(document: dict[str, Any], word: str) -> bool:
    """A number of its own, where a word is given under a name with that word."""
    return any(word in key.lower() and isinstance(value, (int, float)) for key, value in document.items())


@register("json_history", rank=15, recognises=_document)
def json_history(content: Content, name: str) -> Log:
    """The outermost object that holds series of numbers with a loss among them, or a list of objects."""
    try:
        document: Any = parsed(content.whole())
    except (ValueError, RecursionError) as error:
        why = f"is neither JSON lines nor one whole JSON document ({error}); copy it again"
        raise UnreadableLog(name, why) from error
    samples = rows_in(document)
    if not samples:
        raise NotALog(name, "no key is a training loss: the document holds no list of numbers")
    return Log(samples)
