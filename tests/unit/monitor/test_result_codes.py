"""SQLite's result codes, by the code that an error carries and by its text alone, on errors that SQLite raises."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from monitor.history.result_codes import Code, code_of_text, primary_code


def missing_table(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "h")) as db:
        db.execute("SELECT * FROM nothing")


def locked(folder: Path) -> None:
    with (
        closing(sqlite3.connect(folder / "h", isolation_level=None)) as writer,
        closing(sqlite3.connect(folder / "h", timeout=0)) as second,
    ):
        writer.execute("BEGIN IMMEDIATE")
        second.execute("BEGIN IMMEDIATE")


def a_folder(folder: Path) -> None:
    sqlite3.connect(folder)


def no_database(folder: Path) -> None:
    (folder / "h").write_bytes(b"plain text, and enough of it" * 100)
    with closing(sqlite3.connect(folder / "h")) as db:
        db.execute("PRAGMA user_version").fetchone()


def cut(folder: Path) -> None:
    filled(folder)
    with (folder / "h").open("r+b") as file:
        file.truncate(8192)
    with closing(sqlite3.connect(folder / "h")) as db:
        db.execute("SELECT sum(length(x)) FROM t").fetchone()


def full(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "h")) as db:
        db.execute("CREATE TABLE t (x)")
        db.execute("PRAGMA max_page_count = 3")
        db.execute("INSERT INTO t VALUES (zeroblob(100000))")


def read_only(folder: Path) -> None:
    filled(folder)
    with closing(sqlite3.connect(f"file:{folder / 'h'}?mode=ro", uri=True)) as db:
        db.execute("DELETE FROM t")


def filled(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "h")) as db, db:
        db.execute("CREATE TABLE t (x)")
        db.executemany("INSERT INTO t VALUES (?)", [(bytes(1000),)] * 100)


@pytest.mark.parametrize(
    ("provoke", "code"),
    [
        (missing_table, Code.ERROR), (locked, Code.BUSY), (a_folder, Code.CANTOPEN), (no_database, Code.NOTADB),
        (cut, Code.CORRUPT), (full, Code.FULL), (read_only, Code.READONLY),
    ],
)  # fmt: skip
def test_an_error_of_sqlite_is_known_by_its_code_and_by_its_text(
    provoke: Callable[[Path], None], code: Code, tmp_path: Path
) -> None:
    with pytest.raises(sqlite3.Error) as raised:
        provoke(tmp_path)
    assert primary_code(raised.value) == code
    assert code_of_text(raised.value) == code


def test_an_error_of_our_own_has_no_code() -> None:
    assert primary_code(sqlite3.DatabaseError("schema 9, this version knows 2")) is None


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 names no code to compare with")
def test_the_numbers_are_those_of_sqlite() -> None:
    for code in Code:
        assert getattr(sqlite3, f"SQLITE_{code.name}") == code, code.name
