"""What waits to be delivered: the protocol that a durable store implements. No I/O here."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Protocol

import msgspec

from alerts.alert import Alert
from alerts.enums import StrEnum

EXPIRES_S = 72 * 3600.0  # a weekend's outage of a receiver


class Settled(StrEnum):
    """How the delivery of one row ended."""

    DELIVERED = "delivered"
    REFUSED = "refused"  # the receiver will never take it
    EXPIRED = "expired"  # nobody took it in time
    SUPPRESSED = "suppressed"  # a silence, an acknowledgement or another alert made it needless


class OutboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """One alert on its way to one receiver. Unique by (alert.id, receiver)."""

    id: int  # grows with insertion: the order in which rows of one lane leave
    receiver: str  # its name
    lane: str  # rows of one (lane, receiver) leave one after the other; the alert's `run` label
    alert: Alert
    attempts: int  # tries so far
    created_s: float  # Unix time it was stored
    next_s: float  # not before


class Outbox(Protocol):
    """Rows survive the process; a change that is lost in a crash only repeats a delivery. Times are Unix seconds."""

    def waiting(self) -> Sequence[OutboxRow]:
        """Every unsettled row."""
        ...

    def due(self, now_s: float, held: Container[int] = ()) -> list[OutboxRow]:
        """Of each (lane, receiver) the oldest unsettled row, where its `next_s` has come; those waiting longest first.

        A row behind an unsettled one is never returned, even if its own time has come: that keeps the order. Rows
        whose ids are in `held` are passed over: they keep nothing back.
        """
        ...

    def reschedule(self, row_id: int, attempts: int, next_s: float, error: str) -> None:
        """A try failed: not before `next_s`. `error` is for people and holds no secret. A settled row stays settled."""
        ...

    def settle(self, row_id: int, outcome: str, now_s: float) -> None:
        """The row is done with (`Settled`). Settling it again changes nothing: the first outcome stays."""
        ...
