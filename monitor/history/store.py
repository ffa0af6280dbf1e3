"""The one read-write connection to the history. An edge file: blocking, and used by one thread only.

Every transaction is whole: inputs, what they caused, and the alerts commit together or not at all. One
connection also checkpoints, because SQLite before 3.51.3 can lose pages where two do (facts: WAL-reset bug).
"""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from alerts import alert as alert_codec
from monitor.core.model import Entry
from monitor.errors import StoreFailed
from monitor.history import reads, schema
from monitor.history.result_codes import Code, primary_code
from monitor.history.rollups import write_rollups
from monitor.history.transaction_rows import Commit, OutboxChange, Sample, run_of, sample_of
from monitor.history.witness import Witness

JOURNAL_KEPT = 300_000  # entries, for a backtest: hours of a fast training, at most about 150 MB
SNAPSHOTS_KEPT = 2  # the newest, and the one before it for the day the newest can't be read
WHOLE_MAX = 2**63 - 1  # of SQLite
BUSY_S = 5.0  # a reader of ours never holds the write lock; a person's sqlite3 shell may
LOST_CODES = {Code.IOERR, Code.CORRUPT, Code.NOTADB, Code.READONLY, Code.CANTOPEN}
BROKEN_CODES = {Code.CORRUPT, Code.NOTADB}

_encoder = msgspec.msgpack.Encoder()


class OutOfSpace(Exception):
    """Nothing was written and nothing is lost: the same commit may be tried again."""


def broken_marker(path: Path) -> Path:
    """Exists where the history was found damaged while it was in use: the next start moves it aside."""
    return path.with_name(path.name + ".broken")


class Store:
    """The history file, open for writing. Raises sqlite3.DatabaseError from the constructor if it is not a history."""

    def __init__(self, path: Path, journal_kept: int = JOURNAL_KEPT) -> None:
        self.path, self._journal_kept = path, journal_kept
        self.witness = Witness(path.parent)
        self._db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_S, check_same_thread=False)
        self._db.text_factory = reads.lenient
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA wal_autocheckpoint = 1000")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > schema.SCHEMA_VERSION:
            raise sqlite3.DatabaseError(f"{self.path}: schema {version}, this version knows {schema.SCHEMA_VERSION}")
        if version == 0:
            self._db.executescript(f"BEGIN; {schema.TABLES} PRAGMA user_version = {schema.SCHEMA_VERSION}; COMMIT;")
        elif version < schema.SCHEMA_VERSION:
            steps = (schema.FROM_VERSION_1, schema.FROM_VERSION_2)[version - 1 :]
            changes = f"{' '.join(steps)} PRAGMA user_version = {schema.SCHEMA_VERSION};"
            self._db.executescript(f"BEGIN; {changes} COMMIT;")
        self._db.execute("SELECT count(*) FROM effects WHERE done = 0").fetchone()

    def commit(self, commit: Commit) -> None:
        """Write it, whole. After it returns the process may die.

        Raises:
            OutOfSpace: nothing was written; try again.
            StoreFailed: what reached the disk is unknown; leave and let a restart read it.
        """
        try:
            # It can't change inside a transaction. FULL: a power cut must not take back what was alerted.
            self._db.execute(f"PRAGMA synchronous = {'FULL' if commit.durable else 'NORMAL'}")
            with self._transaction():
                self._write(commit)
            if commit.entries:
                self.witness.write(commit.entries[-1].seq)
        except sqlite3.Error as error:
            raise self._error_of(error) from error

    def _error_of(self, error: sqlite3.Error) -> Exception:
        primary = primary_code(error)
        if primary in BROKEN_CODES:
            broken_marker(self.path).touch()
        if primary in LOST_CODES:
            return StoreFailed(
                f"{self.path}: {error}; check the disk, the daemon reads what is there when it starts again"
            )
        if primary in {Code.FULL, Code.BUSY, Code.LOCKED}:
            return OutOfSpace(f"{self.path}: {error}")
        return error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _write(self, commit: Commit) -> None:
        self._write_journal(commit.entries)
        self._write_samples([sample for entry in commit.entries if (sample := sample_of(entry)) and _fits(sample)])
        self._write_effects(commit)
        self._db.executemany(
            schema.INSERT_ALERT,
            [
                (r.id, r.lane, r.receiver, r.alert.id, alert_codec.encode(r.alert), r.attempts, r.created_s, r.next_s)
                for r in commit.alerts
            ],
        )
        for change in commit.outbox:
            self._change_outbox(change)
        self._db.executemany(
            "INSERT INTO story VALUES (?, ?, ?, ?, ?)",
            [(s.n, s.run, s.at_s, s.severity, s.text) for s in commit.timeline],
        )
        if commit.snapshot:
            self._write_snapshot(commit.snapshot.seq, commit.snapshot.fleet)

    def _write_journal(self, entries: list[Entry]) -> None:
        encoded = [(entry, _encoder.encode(entry)) for entry in entries]
        self._db.executemany(
            "INSERT INTO journal VALUES (?, ?, ?, ?, ?)",
            [(e.seq, e.now_s, getattr(e.input, "run", ""), data, zlib.crc32(data)) for e, data in encoded],
        )

    def _write_samples(self, samples: list[Sample]) -> None:
        self._db.executemany(schema.INSERT_SAMPLE, [_sample_row(sample) for sample in samples])
        write_rollups(self._db, samples)

    def _write_effects(self, commit: Commit) -> None:
        self._db.executemany(
            "INSERT OR IGNORE INTO effects (id, kind, run, effect, done) VALUES (?, ?, ?, ?, 0)",
            [(e.id, type(e).__name__, run_of(e), _encoder.encode(e)) for e in commit.effects],
        )
        self._db.executemany(
            "UPDATE effects SET done = 1, effect = x'' WHERE id = ?", [(done,) for done in commit.done]
        )

    def _change_outbox(self, change: OutboxChange) -> None:
        if change.outcome:
            sql = "UPDATE outbox SET state = ?, next_s = coalesce(?, next_s) WHERE id = ? AND state = ''"
            self._db.execute(sql, (change.outcome, change.next_s, change.row))
        else:
            sql = "UPDATE outbox SET attempts = ?, next_s = ?, error = ? WHERE id = ? AND state = ''"
            self._db.execute(sql, (change.attempts, change.next_s, change.error, change.row))

    def _write_snapshot(self, seq: int, fleet: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?)", (seq, fleet, zlib.crc32(fleet)))
        kept = self._db.execute("SELECT seq FROM snapshots ORDER BY seq DESC LIMIT ?", (SNAPSHOTS_KEPT,)).fetchall()
        if len(kept) == SNAPSHOTS_KEPT:
            oldest = kept[-1][0]
            self._db.execute("DELETE FROM snapshots WHERE seq < ?", (oldest,))
            self._db.execute("DELETE FROM journal WHERE seq <= ?", (min(oldest, seq - self._journal_kept),))
        for (run,) in self._db.execute("SELECT DISTINCT run FROM samples").fetchall():
            self._db.execute(schema.TRIM_SAMPLES, (run, schema.RAW_ROWS_MAX))

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """What a query of this package finds. For the start only."""
        return self._db.execute(sql, values).fetchall()

    def set_aside(self, sql: str, row: int) -> None:
        """Mark a row that can't be read, so that no later start reads it again; its bytes stay. For the start only."""
        self._db.execute(sql, (row,))

    def close(self) -> None:
        self._db.close()
        self.witness.close()


def _fits(sample: Sample) -> bool:
    """A forged batch may hold whole numbers that SQLite has no place for: it has no place in a chart either."""
    return all(abs(value) <= WHOLE_MAX for value in msgspec.structs.astuple(sample) if isinstance(value, int))


def _sample_row(sample: Sample) -> tuple[object, ...]:
    """What no query looks for, the parts and the further rates, stands in one column."""
    *columns, parts, more_rates = msgspec.structs.astuple(sample)
    return (*columns, _encoder.encode((parts, more_rates)) if parts or more_rates else None)
