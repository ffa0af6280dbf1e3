"""The outbox that survives the daemon: alerts.outbox.Outbox over the history's table.

Rows are answered from memory, so that delivery never waits for the disk; changes are handed on to be committed with
the next transaction. A kill in between repeats a delivery under the same alert id, which receivers recognise; it loses
none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable

import msgspec

from alerts.alert import Alert
from alerts.outbox import OutboxRow
from monitor.history.transaction_rows import OutboxChange


class DurableOutbox:
    """Rows waiting for their receivers, one per (alert, receiver) for ever."""

    def __init__(
        self,
        waiting: Iterable[OutboxRow],
        known: Iterable[tuple[str, str]],
        last_id: int,
        write: Callable[[OutboxChange], None],
    ) -> None:
        self._rows = {row.id: row for row in waiting}
        self._known = set(known)
        self._last_id = last_id
        self._write = write

    def __len__(self) -> int:
        return len(self._rows)

    def pending(self) -> dict[str, int]:
        """How many rows wait, by lane."""
        return Counter(row.lane for row in self._rows.values())

    def rows_for(self, alert: Alert, lane: str, receivers: Iterable[str], now_s: float) -> list[OutboxRow]:
        """New rows for the receivers that never had this alert. They wait for `add`, once they are committed."""
        rows = []
        for receiver in receivers:
            if (alert.id, receiver) not in self._known:
                self._known.add((alert.id, receiver))
                self._last_id += 1
                rows.append(
                    OutboxRow(
                        id=self._last_id,
                        receiver=receiver,
                        lane=lane,
                        alert=alert,
                        attempts=0,
                        created_s=now_s,
                        next_s=now_s,
                    )
                )
        return rows

    def add(self, rows: Iterable[OutboxRow]) -> None:
        """They are on disk now and may leave."""
        self._rows.update((row.id, row) for row in rows)

    def clock_stepped(self, by_s: float) -> None:
        """The clock was corrected: what waits is neither sent earlier nor later for that."""
        for id_, row in self._rows.items():
            moved = msgspec.structs.replace(row, created_s=row.created_s + by_s, next_s=row.next_s + by_s)
            self._rows[id_] = moved

    def waiting(self) -> list[OutboxRow]:
        return sorted(self._rows.values(), key=lambda row: row.id)

    def due(self, now_s: float, held: Container[int] = ()) -> list[OutboxRow]:
        heads: dict[tuple[str, str], OutboxRow] = {}
        for row in self._rows.values():
            if row.id in held:
                continue
            lane = (row.lane, row.receiver)
            if lane not in heads or row.id < heads[lane].id:
                heads[lane] = row
        return sorted((row for row in heads.values() if row.next_s <= now_s), key=lambda row: (row.next_s, row.id))

    def reschedule(self, row_id: int, attempts: int, next_s: float, error: str) -> None:
        if row := self._rows.get(row_id):
            self._rows[row_id] = msgspec.structs.replace(row, attempts=attempts, next_s=next_s)
            self._write(OutboxChange(row=row_id, attempts=attempts, next_s=next_s, error=error))

    def settle(self, row_id: int, outcome: str, now_s: float) -> None:
        if self._rows.pop(row_id, None):
            self._write(OutboxChange(row=row_id, next_s=now_s, outcome=str(outcome)))
