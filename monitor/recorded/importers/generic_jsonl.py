"""Any file of one JSON object a line: the keys are known by their names, or by --map."""

from __future__ import annotations

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.documents import first_object, flat, lines_of, samples_of
from monitor.recorded.importers.imported_run import Log


def _objects(head: bytes, _: str) -> bool:
    return head.lstrip().startswith(b"{") and bool(flat(first_object(head, frozenset())))


@register("jsonl", rank=80, recognises=_objects)
def generic_jsonl(content: Content, _: str) -> Log:
    """Nested objects are read as `outer/inner`."""
    return Log(samples_of(lines_of(content)))
