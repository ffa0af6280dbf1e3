"""Any table with a header: the columns are known by their names, or by --map."""

from __future__ import annotations

from monitor.recorded.importers import register
from monitor.recorded.importers.imported_run import Log
from monitor.recorded.importers.tables import begins_like_a_table, read_table


@register("csv", rank=80, recognises=lambda head, _: begins_like_a_table(head))
def generic_csv(data: bytes, name: str) -> Log:
    """Comma, semicolon or tab separated."""
    samples, truncated = read_table(data, name)
    return Log(samples, truncated=truncated)
