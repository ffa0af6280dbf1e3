"""Lightning's CSVLogger: sparse rows, training and validation on different ones."""

from __future__ import annotations

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.imported_run import Log, Role
from monitor.recorded.importers.tables import header_of, table_log


def _lightning(head: bytes, _: str) -> bool:
    names = set(header_of(head))
    return {"epoch", "step"} <= names


@register("lightning_csv", rank=20, recognises=_lightning)
def lightning_csv(content: Content, _: str) -> Log:
    """`metrics.csv`: `step` counts optimizer steps, and a validation carries the step it was made at."""
    return table_log(content, {"epoch": Role.EPOCH, "step": Role.STEP})
