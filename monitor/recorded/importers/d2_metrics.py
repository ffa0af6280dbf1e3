"""Detectron2 `metrics.json`: JSON lines, one each 20 iterations, evaluations among them."""

from __future__ import annotations

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.documents import first_object, lines_of, samples_of
from monitor.recorded.importers.imported_run import Log, Role

ROLES = {"time": Role.BATCH_S, "data_time": Role.DATA_S, "iteration": Role.STEP, "total_loss": Role.LOSS}


def _detectron2(head: bytes, _: str) -> bool:
    return {"iteration", "total_loss"} <= first_object(head, frozenset({"total_loss"})).keys()


@register("d2_metrics", rank=10, recognises=_detectron2)
def d2_metrics(content: Content, _: str) -> Log:
    """Box and mask scores (`bbox/AP`) and `validation_loss` are evaluations; the rest is training."""
    return Log(samples_of(lines_of(content)), ROLES, "batch")
