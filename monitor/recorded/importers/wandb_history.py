"""Weights & Biases histories as JSON lines: `_step` and `_timestamp` beside whatever the script logged."""

from __future__ import annotations

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.documents import first_object, flat, lines_of
from monitor.recorded.importers.imported_run import Log

ROW_KEYS = frozenset({"_step", "_kind", "_timestamp"})


def _wandb(head: bytes, _: str) -> bool:
    return bool(ROW_KEYS & first_object(head, ROW_KEYS).keys())


@register("wandb_history", rank=10, recognises=_wandb)
def wandb_history(content: Content, _: str) -> Log:
    """System statistics, which some exports mix in, are left out."""
    return Log((line, flat(value)) for line, value in lines_of(content) if value.get("_kind") != "stats")
