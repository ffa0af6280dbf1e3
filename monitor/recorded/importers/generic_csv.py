"""Any table: the columns are known by their names, or by --map; without a header they go by their numbers from 0."""

from __future__ import annotations

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.imported_run import Log
from monitor.recorded.importers.tables import table_log, table_of


@register("csv", rank=80, recognises=lambda head, _: table_of(head) is not None)
def generic_csv(content: Content, _: str) -> Log:
    """Comma, semicolon, tab or white space between the columns."""
    return table_log(content)
