"""Alerts of a trouble that is not over, for receivers that forget an alert unless it is repeated. Values only.

An Alertmanager takes an alert for over where nobody repeats it, and one that was restarted knows none. So each alert of
a thread is sent again until the thread ends; then all of them are sent once more as over. This is beside the outbox: a
repeat that fails is not tried again, since the next one comes.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from alerts.outbox import EXPIRES_S, OutboxRow

LIVE_MAX = 500  # rows that are repeated; the oldest leaves, and its receiver takes it for over


class Live:
    """The rows that were delivered and whose thread is not over."""

    def __init__(self, delivered: Iterable[OutboxRow] = ()) -> None:
        self._rows: dict[tuple[str, str], OutboxRow] = {}  # by alert and receiver
        for row in delivered:
            self.take(row)

    def take(self, row: OutboxRow) -> tuple[OutboxRow, ...]:
        """A row was delivered. Returns what has to be sent now: where it ends its thread, the others as over."""
        thread, ended_s = row.alert.thread, row.alert.ended_s
        if not thread:
            return ()
        if ended_s is None:
            self._rows[row.alert.id, row.receiver] = row
            if len(self._rows) > LIVE_MAX:
                del self._rows[next(iter(self._rows))]
            return ()
        over = [key for key, one in self._rows.items() if (one.receiver, one.alert.thread) == (row.receiver, thread)]
        return tuple(_ended(self._rows.pop(key), ended_s) for key in over)

    def due(self, now_s: float) -> tuple[OutboxRow, ...]:
        """Every row, to be sent again; what is older than an alert lives has left."""
        self._rows = {key: row for key, row in self._rows.items() if row.created_s > now_s - EXPIRES_S}
        return tuple(self._rows.values())


def _ended(row: OutboxRow, ended_s: float) -> OutboxRow:
    return msgspec.structs.replace(row, alert=msgspec.structs.replace(row.alert, ended_s=ended_s))
