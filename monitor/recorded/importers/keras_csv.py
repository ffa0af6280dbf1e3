"""Keras' CSVLogger: one row an epoch, `loss` beside `val_loss`."""

from __future__ import annotations

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.imported_run import Log, Role
from monitor.recorded.importers.tables import header_of, table_log


def _keras(head: bytes, _: str) -> bool:
    names = header_of(head)
    return names[:1] == ("epoch",) and "loss" in names


@register("keras_csv", rank=30, recognises=_keras)
def keras_csv(content: Content, _: str) -> Log:
    """The metrics of training go by their own names, those of validation by `val_` and the name."""
    return table_log(content, {"epoch": Role.EPOCH, "loss": Role.LOSS}, "epoch")
