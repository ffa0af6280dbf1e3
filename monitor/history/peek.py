"""What the history says to somebody who is not its daemon: looks, and changes nothing. Blocking."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from monitor.core.model import Entry
from monitor.core.state.run import Fleet
from monitor.history.reads import reading
from monitor.history.recall import entries_after, newest_fleet


class StoredState(msgspec.Struct, frozen=True):
    """The state at the newest snapshot, and what was journaled after it."""

    fleet: Fleet
    entries: list[Entry]
    troubles: list[str]  # sentences: what could not be read


class Looking:
    """Answers the queries of this package over a connection that can only read."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self._db.execute(sql, values).fetchall()


def peek(path: Path) -> StoredState:
    """All of it as of one moment, also while a daemon writes. Raises sqlite3.Error for a history that can't be read."""
    troubles: list[str] = []
    with reading(path) as db:
        db.execute("BEGIN")
        fleet = newest_fleet(Looking(db), troubles)
        return StoredState(fleet, entries_after(Looking(db), fleet.seq, troubles), troubles)
