"""An outbox in memory, held to the same contract as the durable one."""

from __future__ import annotations

import asyncio
from collections.abc import Container

import msgspec

from alerts.alert import Alert
from alerts.outbox import OutboxRow


class MemoryOutbox:
    """Keeps everything: `settled` and `errors` are for tests to look at."""

    def __init__(self) -> None:
        self.rows: dict[int, OutboxRow] = {}
        self.settled: dict[int, str] = {}
        self.errors: list[str] = []
        self.changed = asyncio.Event()  # set by every reschedule and settle

    def store(self, alert: Alert, receiver: str, now_s: float) -> int:
        """A new row, as the daemon stores it with the effect. Returns its id."""
        row_id = len(self.rows) + len(self.settled) + 1
        self.rows[row_id] = OutboxRow(
            id=row_id,
            receiver=receiver,
            lane=alert.labels.get("run", ""),
            alert=alert,
            attempts=0,
            created_s=now_s,
            next_s=now_s,
        )
        return row_id

    def waiting(self) -> list[OutboxRow]:
        return sorted(self.rows.values(), key=lambda row: row.id)

    def due(self, now_s: float, held: Container[int] = ()) -> list[OutboxRow]:
        heads: dict[tuple[str, str], OutboxRow] = {}
        for row in self.waiting():
            if row.id in held:
                continue
            heads.setdefault((row.lane, row.receiver), row)
        return sorted((row for row in heads.values() if row.next_s <= now_s), key=lambda row: (row.next_s, row.id))

    def reschedule(self, row_id: int, attempts: int, next_s: float, error: str) -> None:
        if row := self.rows.get(row_id):
            self.rows[row_id] = msgspec.structs.replace(row, attempts=attempts, next_s=next_s)
            self.errors.append(error)
            self.changed.set()

    def settle(self, row_id: int, outcome: str, now_s: float) -> None:
        if self.rows.pop(row_id, None):
            self.settled[row_id] = str(outcome)
            self.changed.set()
