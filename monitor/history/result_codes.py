"""Which of SQLite's result codes an error carries. The sqlite3 module names them from Python 3.11 on. Values only."""

from __future__ import annotations

import sqlite3
from enum import IntEnum


class Code(IntEnum):
    """Primary result codes, as https://sqlite.org/rescode.html numbers them."""

    ERROR = 1
    BUSY = 5
    LOCKED = 6
    READONLY = 8
    IOERR = 10
    CORRUPT = 11
    FULL = 13
    CANTOPEN = 14
    SCHEMA = 17
    NOTADB = 26


# Python 3.10 gives an error no code: only SQLite's own English text has it (sqlite3ErrStr, and calls that set another).
_TEXTS = (
    ("database is locked", Code.BUSY),
    ("database table is locked", Code.LOCKED),
    ("database schema is locked", Code.LOCKED),
    ("attempt to write a readonly database", Code.READONLY),
    ("disk i/o error", Code.IOERR),
    ("database disk image is malformed", Code.CORRUPT),
    ("malformed database schema", Code.CORRUPT),
    ("database or disk is full", Code.FULL),
    ("unable to open database", Code.CANTOPEN),
    ("database schema has changed", Code.SCHEMA),
    ("file is not a database", Code.NOTADB),
)


def primary_code(error: sqlite3.Error) -> int | None:
    """The primary result code. None: SQLite did not raise it, this program or the sqlite3 module did."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if code is not None else code_of_text(error)


def code_of_text(error: sqlite3.Error) -> int | None:
    """The code that belongs to SQLite's text. An OperationalError of any other text is an ERROR: a missing table."""
    text = str(error).lower()
    for beginning, code in _TEXTS:
        if text.startswith(beginning):
            return code
    return Code.ERROR if isinstance(error, sqlite3.OperationalError) else None
