"""What the history holds when a daemon starts: the state, unfinished effects, alerts to send. Blocking."""

from __future__ import annotations

import sqlite3
import time
import zlib
from pathlib import Path
from typing import Any, Protocol

import msgspec

from alerts import alert as alert_codec
from alerts.outbox import EXPIRES_S, OutboxRow, Settled
from alerts.stages import Sending, sending_of
from monitor.core.model import Effect, Entry
from monitor.core.state.run import Fleet
from monitor.errors import StoreFailed
from monitor.history.old_state import fleet_of
from monitor.history.result_codes import Code, primary_code
from monitor.history.store import Store, broken_marker

FILE_NAME = "history.sqlite3"
SIDE_FILES = ("", "-wal", "-shm")
UNREADABLE_CODES = {Code.CORRUPT, Code.NOTADB, Code.ERROR, Code.SCHEMA}

SET_EFFECT_ASIDE = "UPDATE effects SET done = 2 WHERE n = ?"
DELIVERED = """
SELECT id, run, receiver, alert, created_s, next_s FROM outbox
  WHERE state = ?1 AND next_s > (SELECT max(next_s) FROM outbox WHERE state = ?1) - ?2 ORDER BY next_s
"""
SET_ALERT_ASIDE = "UPDATE outbox SET state = 'unreadable' WHERE id = ?"
DAMAGED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError)  # TypeError: a column of another type

_Times = tuple[int, float, float]
_effects = msgspec.msgpack.Decoder(Effect)
_entries = msgspec.msgpack.Decoder(Entry)


class Rows(Protocol):
    """Whatever answers a query of this package."""

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]: ...


class Recalled(msgspec.Struct):
    """Everything a daemon goes on from."""

    fleet: Fleet  # the newest snapshot that can be read
    entries: list[Entry]  # the journal after it, in order
    effects: list[Effect]  # committed, not known to be carried out, oldest first
    waiting: list[OutboxRow]  # alerts on their way
    alerts_known: set[tuple[str, str]]  # (alert id, receiver) of every row there ever was
    timeline: int  # `n` of the last line of the timeline
    outbox: int  # id of the last row of the outbox
    sent: list[Sending]  # what receivers got within EXPIRES_S of the last of it
    delivered: list[OutboxRow]  # the same, as rows
    seq: int  # of the last entry
    troubles: list[str] = []  # sentences: what could not be read
    set_aside: int = 0  # rows, policies and files that could not be read
    shortened: bool = False  # True: the end of the history is gone
    begun_anew: bool = False  # True: the whole history could not be read, and is kept aside


def open_history(folder: Path) -> tuple[Store, Recalled]:
    """The store in `folder` and what it holds; one that can't be read is moved aside (and kept), and a new one begun.

    Raises StoreFailed where the disk, not the file, is the trouble.
    """
    path = folder / FILE_NAME
    if broken_marker(path).exists():
        return _begin_anew(path, "it was found damaged while it was in use")
    try:
        return _open(path)
    except sqlite3.DatabaseError as error:
        if not _unreadable(error, path):
            raise StoreFailed(f"{path}: {error}; free the disk or the file, then start again") from error
        return _begin_anew(path, str(error))


def _begin_anew(path: Path, why: str) -> tuple[Store, Recalled]:
    kept = _move_aside(path)
    broken_marker(path).unlink(missing_ok=True)
    store, recalled = _open(path)
    recalled.begun_anew = True
    recalled.set_aside += 1
    if recalled.shortened:  # said in other words
        recalled.troubles.pop()
    recalled.troubles.append(f"the history could not be read ({why}); it is kept as {kept} and a new one was begun")
    return store, recalled


def _open(path: Path) -> tuple[Store, Recalled]:
    store = Store(path)
    try:
        return store, recall(store)
    except BaseException:
        store.close()
        raise


def _unreadable(error: sqlite3.DatabaseError, path: Path) -> bool:
    code = primary_code(error)
    return code is None or code in UNREADABLE_CODES or path.is_dir()


def _move_aside(path: Path) -> Path:
    kept = path.with_name(f"{path.name}.unreadable-{time.time_ns()}")
    for side in SIDE_FILES:
        part = path.with_name(path.name + side)
        if part.exists() or part.is_symlink():
            part.rename(kept.with_name(kept.name + side))
    return kept


def recall(store: Store) -> Recalled:
    """Read everything back. Raises sqlite3.DatabaseError for a damaged file; a damaged row is left out and named."""
    troubles: list[str] = []
    fleet = newest_fleet(store, troubles)
    entries = entries_after(store, fleet.seq, troubles)
    known = store.rows("SELECT alert_id, receiver FROM outbox")
    delivered = _delivered(store)
    recalled = Recalled(
        fleet=fleet,
        entries=entries,
        effects=_unfinished(store, troubles),
        waiting=_waiting(store, troubles),
        alerts_known={(alert, receiver) for alert, receiver in known},
        timeline=_last(store, "SELECT max(n) FROM story"),
        outbox=_last(store, "SELECT max(id) FROM outbox"),
        sent=[sending_of(row.receiver, row.lane, row.alert, row.next_s) for row in delivered],
        delivered=delivered,
        seq=max(fleet.seq, _last(store, "SELECT max(seq) FROM journal")),
        troubles=troubles,
        set_aside=len(troubles),
    )
    _compare_with_witness(recalled, store.witness.last())
    return recalled


def _compare_with_witness(recalled: Recalled, witnessed: int) -> None:
    """Say that the end of the history is gone, and go on above the numbers that were used already."""
    if witnessed <= recalled.seq:
        return
    found = f"it ends at entry {recalled.seq} of {witnessed}" if recalled.seq else "it is missing or empty"
    recalled.troubles.append(
        f"the history is shorter than it was: {found}; what was recorded after that is lost. A power cut, an older "
        "copy or a removed file does this; runs that still train send their counts again"
    )
    recalled.seq = witnessed
    recalled.timeline = max(recalled.timeline, int(time.time()))  # above the numbers of the lost lines
    recalled.shortened = True


def _unfinished(store: Store, troubles: list[str]) -> list[Effect]:
    found = []
    for number, id_, data in store.rows("SELECT n, id, effect FROM effects WHERE done = 0 ORDER BY n"):
        try:
            found.append(_effects.decode(data))
        except DAMAGED as error:
            store.set_aside(SET_EFFECT_ASIDE, number)
            troubles.append(f"effect {id_} can't be read ({error}); it is set aside and not carried out")
    return found


def _last(store: Store, sql: str) -> int:
    ((found,),) = store.rows(sql)
    return int(found or 0)


def _checked(data: bytes, crc: int) -> bytes:
    """SQLite's own check does not see a changed byte within a row."""
    if not isinstance(data, bytes) or zlib.crc32(data) != crc:
        raise msgspec.DecodeError("its checksum differs")
    return data


def newest_fleet(store: Rows, troubles: list[str]) -> Fleet:
    """The newest snapshot that can be read; what can't is added to `troubles`, as sentences."""
    for seq, data, crc in store.rows("SELECT seq, fleet, crc FROM snapshots ORDER BY seq DESC"):
        try:
            fleet = fleet_of(_checked(data, crc))
        except DAMAGED as error:
            troubles.append(f"snapshot {seq} can't be read ({error}); the one before it is used")
        else:
            fleet.seq = seq
            return fleet
    return Fleet()


def entries_after(store: Rows, seq: int, troubles: list[str]) -> list[Entry]:
    """The journal behind entry `seq`; what can't be read is left out and added to `troubles`, as sentences."""
    entries: list[Entry] = []
    for row, data, crc in store.rows("SELECT seq, entry, crc FROM journal WHERE seq > ? ORDER BY seq", seq):
        try:
            entries.append(_entries.decode(_checked(data, crc)))
        except DAMAGED as error:
            troubles.append(f"entry {row} of the journal can't be read ({error}); it is left out")
    if entries and entries[0].seq != seq + 1:
        troubles.append(
            f"the journal begins at entry {entries[0].seq}, the state ends at {seq}: what lies between is lost"
        )
    return entries


def _delivered(store: Store) -> list[OutboxRow]:
    """A row that can't be read is passed over: it was sent. `next_s` is when."""
    found = []
    for number, run, receiver, data, created_s, sent_s in store.rows(DELIVERED, str(Settled.DELIVERED), EXPIRES_S):
        try:
            alert, times = alert_codec.decode(data), msgspec.convert((0, created_s, sent_s), _Times)
        except (alert_codec.AlertError, *DAMAGED):
            continue
        found.append(
            OutboxRow(
                id=number, receiver=str(receiver), lane=str(run), alert=alert,
                attempts=0, created_s=times[1], next_s=times[2],
            )
        )  # fmt: skip
    return found


def _waiting(store: Store, troubles: list[str]) -> list[OutboxRow]:
    rows = store.rows(
        "SELECT id, run, receiver, alert, attempts, created_s, next_s FROM outbox WHERE state = '' ORDER BY id"
    )
    found = []
    for row, run, receiver, data, attempts, created_s, next_s in rows:
        try:
            alert = alert_codec.decode(data)
            times = msgspec.convert((attempts, created_s, next_s), _Times)
            names = msgspec.convert((receiver, run), tuple[str, str])
        except (alert_codec.AlertError, *DAMAGED) as error:
            store.set_aside(SET_ALERT_ASIDE, row)
            troubles.append(f"row {row} of the outbox can't be read ({error}); it is set aside and not sent")
            continue
        found.append(
            OutboxRow(
                id=row, receiver=names[0], lane=names[1], alert=alert,
                attempts=times[0], created_s=times[1], next_s=times[2],
            )
        )  # fmt: skip
    return found
