"""Any table: the columns are known by their names, or by --map; without a header they go by their numbers from 0."""

from __future__ import annotations

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.imported_run import Log, Role
from monitor.recorded.importers.tables import header_of, table_log, table_of

TENSORBOARD = ("Wall time", "Step", "Value")  # its page saves one tag a file, which only the file's name says


@register("csv", rank=80, recognises=lambda head, _: table_of(head) is not None)
def generic_csv(content: Content, name: str) -> Log:
    """Comma, semicolon, tab or white space between the columns."""
    of_a_loss = header_of(content.head) == TENSORBOARD and "loss" in name.rpartition("/")[2].lower()
    return table_log(content, {"Value": Role.LOSS} if of_a_loss else None)
