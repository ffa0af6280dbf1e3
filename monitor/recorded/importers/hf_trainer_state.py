"""Hugging Face `trainer_state.json`: a list of what the Trainer logged."""

from __future__ import annotations

from typing import Any

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.documents import flat, parsed
from monitor.recorded.importers.imported_run import Log, Role, UnreadableLog

SUMMARY = "train_runtime"  # the row at the end whose train_loss is the mean of the whole run


def _trainer_state(head: bytes, _: str) -> bool:
    return head.lstrip().startswith(b"{") and b'"log_history"' in head


@register("hf_trainer_state", rank=10, recognises=_trainer_state)
def hf_trainer_state(content: Content, name: str) -> Log:
    """Training rows have `loss`, evaluations `eval_loss`; the summary of the end is neither."""
    try:
        history = parsed(content.whole())["log_history"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnreadableLog(name, f"is not a complete JSON document ({error}); copy it again") from error
    if not isinstance(history, list):
        raise UnreadableLog(name, "log_history is not a list")
    rows: list[dict[str, Any]] = [row for row in history if isinstance(row, dict)]
    samples = ((i, flat(row)) for i, row in enumerate(rows, 1) if SUMMARY not in row)
    return Log(samples, {"loss": Role.LOSS, "step": Role.STEP, "epoch": Role.EPOCH}, "batch")
