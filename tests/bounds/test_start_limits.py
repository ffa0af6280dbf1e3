"""The limits of what is said and read when a daemon or a run starts."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from alerts.secret import SecretError
from monitor.core.model import Entry, RecordArrived
from monitor.daemon.assembly import TROUBLES_MAX, most_of
from monitor.daemon.catch_up import FILES_NAMED_MAX, Unreadable
from monitor.history.store import WHOLE_MAX as SQLITE_WHOLE_MAX
from monitor.history.store import Store
from monitor.history.transaction_rows import Commit
from monitor.policyfile.load import PROBLEM_CHARS_MAX, WHOLE_MAX, PolicyFileError, policy_from_text
from monitor.policyfile.secret_files import SECRET_FILE_BYTES_MAX, read_secrets
from tests.harness.trainer import batch
from trainer_hooks.wire.messages import Counts


def test_so_many_parts_that_cant_be_read_are_named_and_the_rest_are_counted() -> None:
    assert len(most_of(["x"] * TROUBLES_MAX)) == TROUBLES_MAX
    shown = most_of(["x"] * (TROUBLES_MAX + 7))
    assert (len(shown), shown[-1]) == (TROUBLES_MAX + 1, "7 more parts could not be read")


def test_each_file_that_cant_be_read_is_named_once_and_a_flood_of_them_ends() -> None:
    lines: list[str] = []
    unreadable = Unreadable(lambda _run, _severity, text: lines.append(text))
    for number in range(FILES_NAMED_MAX + 5):
        for _ in range(2):
            unreadable.notify("r", ValueError(f"file {number}"))
    assert len(lines) == unreadable.count == FILES_NAMED_MAX


def test_the_yaml_readers_own_words_are_cut() -> None:
    with pytest.raises(PolicyFileError) as refused:
        policy_from_text("*" * 5 * PROBLEM_CHARS_MAX, "p")
    assert PROBLEM_CHARS_MAX < len(str(refused.value)) < 2 * PROBLEM_CHARS_MAX


def test_a_whole_number_of_a_policy_is_refused_above_its_limit() -> None:
    """At the limit it is judged like any other number."""
    for number, rule in ((WHOLE_MAX, "too large"), (WHOLE_MAX + 1, f"above {WHOLE_MAX}"), (-WHOLE_MAX - 1, "above")):
        with pytest.raises(PolicyFileError, match=rule):
            policy_from_text(f"rollback:\n  budget: {number}\n", "p")


def test_a_secret_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    secret = "s" * 32 + "\n"
    path.write_text(secret + "#" * (SECRET_FILE_BYTES_MAX - len(secret)))
    assert len(read_secrets(str(path))) == 1
    path.write_text(secret + "#" * (SECRET_FILE_BYTES_MAX - len(secret) + 1))
    with pytest.raises(SecretError, match="64 kB"):
        read_secrets(str(path))


@pytest.mark.parametrize(("batches", "rows"), [(SQLITE_WHOLE_MAX - 16, 1), (SQLITE_WHOLE_MAX + 1, 0)])
def test_a_batch_with_a_number_that_sqlite_cant_hold_has_no_row_and_its_commit_is_whole(
    tmp_path: Path, batches: int, rows: int
) -> None:
    store = Store(tmp_path / "history.sqlite3")
    store.commit(Commit(entries=[Entry(1, 1.0, RecordArrived("r", 1, 0, batch(Counts(batches=batches))))]))
    store.close()
    with sqlite3.connect(tmp_path / "history.sqlite3") as db:
        assert db.execute("SELECT count(*) FROM samples").fetchone() == (rows,)
        assert db.execute("SELECT count(*) FROM journal").fetchone() == (1,)
    db.close()
