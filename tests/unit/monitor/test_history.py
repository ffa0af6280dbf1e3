"""The history: what was committed is there again, and what is damaged is named, kept, and done without."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path

import msgspec
import pytest

from alerts.outbox import OutboxRow
from monitor.core.model import Entry, RecordArrived, Tick, WriteReport
from monitor.core.model.channel import TimelineLine
from monitor.core.state.run import Fleet
from monitor.errors import StoreFailed
from monitor.history import reads
from monitor.history.curve_query import Range, curves
from monitor.history.recall import FILE_NAME, open_history
from monitor.history.samples import roll_up
from monitor.history.store import OutOfSpace, Store, broken_marker
from monitor.history.transaction_rows import Commit, OutboxChange, Sample, Snapshot
from tests.harness.alerts import alert
from tests.harness.trainer import batch
from trainer_hooks.wire.messages import Counts


def _ticks(first: int, last: int) -> list[Entry]:
    return [Entry(seq, 100.0 + seq, Tick()) for seq in range(first, last + 1)]


def _snapshot(seq: int) -> Snapshot:
    return Snapshot(seq, msgspec.msgpack.encode(Fleet(seq=seq, now_s=100.0 + seq)))


def _row(number: int) -> OutboxRow:
    stored = alert(f"r/{number}", run="r")
    return OutboxRow(id=number, receiver="ops", lane="r", alert=stored, attempts=0, created_s=1.0, next_s=1.0)


def _committed(folder: Path, *commits: Commit) -> None:
    store, _ = open_history(folder)
    for commit in commits:
        store.commit(commit)
    store.close()


def test_a_new_history_is_empty(tmp_path: Path) -> None:
    store, recalled = open_history(tmp_path)
    store.close()
    assert (recalled.fleet.seq, recalled.entries, recalled.effects, recalled.waiting) == (0, [], [], [])
    assert (recalled.troubles, recalled.begun_anew) == ([], False)


def test_what_was_committed_is_recalled(tmp_path: Path) -> None:
    report = WriteReport("e1", "r", "r-i1")
    entry = Entry(1, 101.0, RecordArrived("r", 1, 0, batch(Counts(batches=1), bad=True)))
    timeline = [TimelineLine(7, "r", 1.0, "info", "hello")]
    _committed(tmp_path, Commit(entries=[entry], effects=[report], alerts=[_row(3)], timeline=timeline))
    store, recalled = open_history(tmp_path)
    store.close()
    assert [e.seq for e in recalled.entries] == [1]
    assert isinstance(recalled.entries[0].input, RecordArrived)
    assert recalled.effects == [report]
    assert recalled.waiting == [_row(3)]
    assert (recalled.alerts_known, recalled.timeline, recalled.outbox, recalled.seq) == ({("r/3", "ops")}, 7, 3, 1)


def test_an_effect_that_was_carried_out_and_an_alert_that_was_settled_do_not_come_back(tmp_path: Path) -> None:
    first = Commit(effects=[WriteReport("e1", "r", "i"), WriteReport("e2", "r", "i")], alerts=[_row(1), _row(2)])
    _committed(tmp_path, first, Commit(done=["e1"], outbox=[OutboxChange(row=1, outcome="delivered")]))
    store, recalled = open_history(tmp_path)
    store.close()
    assert [effect.id for effect in recalled.effects] == ["e2"]
    assert [row.id for row in recalled.waiting] == [2]
    assert recalled.alerts_known == {("r/1", "ops"), ("r/2", "ops")}, "a settled alert must not be raised a second time"


def test_a_rescheduled_alert_waits_as_long_after_a_restart(tmp_path: Path) -> None:
    change = OutboxChange(row=1, attempts=4, next_s=99.0, error="HTTP 503")
    _committed(tmp_path, Commit(alerts=[_row(1)]), Commit(outbox=[change]))
    store, recalled = open_history(tmp_path)
    store.close()
    assert [(row.attempts, row.next_s) for row in recalled.waiting] == [(4, 99.0)]


def test_the_journal_reaches_back_to_the_last_snapshot_but_one_at_least(tmp_path: Path) -> None:
    store = Store(tmp_path / FILE_NAME, journal_kept=0)
    for start in (1, 11, 21):
        store.commit(Commit(entries=_ticks(start, start + 9), snapshot=_snapshot(start + 9)))
    store.commit(Commit(entries=_ticks(31, 33)))
    kept = [seq for (seq,) in store.rows("SELECT seq FROM journal ORDER BY seq")]
    store.close()
    assert kept == list(range(21, 34))
    store, recalled = open_history(tmp_path)
    store.close()
    assert (recalled.fleet.seq, [e.seq for e in recalled.entries]) == (30, [31, 32, 33])


def test_the_journal_is_kept_for_a_backtest_as_long_as_its_bound(tmp_path: Path) -> None:
    store = Store(tmp_path / FILE_NAME, journal_kept=25)
    for start in (1, 11, 21, 31):
        store.commit(Commit(entries=_ticks(start, start + 9), snapshot=_snapshot(start + 9)))
    kept = [seq for (seq,) in store.rows("SELECT seq FROM journal ORDER BY seq")]
    store.close()
    assert kept == list(range(16, 41))


def test_a_damaged_snapshot_is_named_and_the_one_before_it_is_refolded_from(tmp_path: Path) -> None:
    _committed(
        tmp_path,
        Commit(entries=_ticks(1, 10), snapshot=_snapshot(10)),
        Commit(entries=_ticks(11, 20), snapshot=_snapshot(20)),
    )
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute("UPDATE snapshots SET fleet = zeroblob(length(fleet)) WHERE seq = 20")
    db.close()
    store, recalled = open_history(tmp_path)
    store.close()
    assert (recalled.fleet.seq, [e.seq for e in recalled.entries]) == (10, list(range(11, 21)))
    assert len(recalled.troubles) == 1
    assert "snapshot 20 can't be read" in recalled.troubles[0]


def test_a_damaged_entry_is_left_out_and_named(tmp_path: Path) -> None:
    _committed(tmp_path, Commit(entries=_ticks(1, 3)))
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute("UPDATE journal SET entry = x'00' WHERE seq = 2")
    db.close()
    store, recalled = open_history(tmp_path)
    store.close()
    assert [e.seq for e in recalled.entries] == [1, 3]
    assert "entry 2 of the journal" in recalled.troubles[0]


def _garbage(path: Path) -> None:
    path.write_bytes(b"this is no database at all " * 400)


def _directory(path: Path) -> None:
    path.mkdir()


def _newer(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()


def _foreign(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE journal (x)")
        db.execute("PRAGMA user_version = 1")
    db.close()


def _torn_in_the_middle(path: Path) -> None:
    _committed(path.parent, *(Commit(entries=_ticks(i, i)) for i in range(1, 400)))
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    path.write_bytes(data)
    for side in ("-wal", "-shm"):
        path.with_name(path.name + side).unlink(missing_ok=True)


@pytest.mark.parametrize("damage", [_garbage, _directory, _newer, _foreign, _torn_in_the_middle])
def test_a_history_that_cannot_be_read_is_kept_aside_and_a_new_one_begun(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    damage(tmp_path / FILE_NAME)
    store, recalled = open_history(tmp_path)
    store.commit(Commit(entries=_ticks(1, 1)))
    store.close()
    assert recalled.begun_anew
    assert "it is kept as" in recalled.troubles[-1]
    assert len(list(tmp_path.glob(f"{FILE_NAME}.unreadable-*"))) >= 1
    store, again = open_history(tmp_path)
    store.close()
    assert (again.begun_anew, [e.seq for e in again.entries]) == (False, [1])


def test_an_empty_file_is_a_new_history(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).touch()
    store, recalled = open_history(tmp_path)
    store.close()
    assert not recalled.begun_anew


def test_a_history_found_damaged_in_use_is_moved_aside_at_the_next_start(tmp_path: Path) -> None:
    _committed(tmp_path, Commit(entries=_ticks(1, 5)))
    broken_marker(tmp_path / FILE_NAME).touch()
    store, recalled = open_history(tmp_path)
    store.close()
    assert recalled.begun_anew
    assert not broken_marker(tmp_path / FILE_NAME).exists()


def test_a_full_disk_loses_nothing_and_the_same_commit_passes_later(tmp_path: Path) -> None:
    store, _ = open_history(tmp_path)
    (pages,) = store.rows("PRAGMA page_count")[0]
    store.rows(f"PRAGMA max_page_count = {pages}")
    commit = Commit(entries=_ticks(1, 2000), alerts=[_row(1)])
    with pytest.raises(OutOfSpace):
        store.commit(commit)
    assert store.rows("SELECT count(*) FROM journal") == [(0,)], "half a commit must not stay"
    store.rows("PRAGMA max_page_count = 1000000")
    store.commit(commit)
    assert store.rows("SELECT count(*) FROM journal") == [(2000,)]
    store.close()


def test_a_damage_met_while_writing_asks_for_a_restart_and_marks_the_file(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    store, _ = open_history(tmp_path)
    for i in range(1, 50):
        store.commit(Commit(entries=_ticks(i, i)))
    store.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    store.rows("PRAGMA shrink_memory")
    with pytest.raises(StoreFailed, match="starts again"):
        _commit_each(store, range(50, 60))
    store.close()
    assert broken_marker(path).exists()


def _commit_each(store: Store, seqs: range) -> None:
    for seq in seqs:
        store.commit(Commit(entries=_ticks(seq, seq)))


def _sample(count: int, loss: float | None, rank: int = 0, at_s: float | None = None) -> Sample:
    at = 1000.0 + count if at_s is None else at_s
    bad = int(loss is None or not math.isfinite(loss))
    return Sample("r", 1, rank, count, 1, count - 1, at, loss, None, bad, 0.01, None, 0.1, None)


def test_roll_ups_hold_the_lowest_the_sum_and_the_highest_of_finite_values() -> None:
    losses = [1.0, math.nan, 4.0, None, math.inf, 2.5]
    rows = roll_up(_sample(i + 1, loss) for i, loss in enumerate(losses))
    (row,) = [r for r in rows if r[5] == "loss" and r[2] == 16]
    assert row[8:] == (3, 7.5, 1.0, 4.0)
    (bad,) = [r for r in rows if r[5] == "nonfinite" and r[2] == 16]
    assert bad[8:10] == (6, 3.0)


def _batches(first: int, last: int) -> list[Entry]:
    return [
        Entry(i, 1000.0 + i, RecordArrived("r", 1, 0, msgspec.structs.replace(batch(Counts(batches=i)), loss=float(i))))
        for i in range(first, last + 1)
    ]


@pytest.mark.parametrize("group", [1, 7, 512, 1000])
def test_a_chart_shows_every_batch_once_however_they_were_grouped_into_commits(tmp_path: Path, group: int) -> None:
    store, _ = open_history(tmp_path)
    for start in range(1, 1001, group):
        store.commit(Commit(entries=_batches(start, min(start + group - 1, 1000))))
    found = curves(store.path, Range("r"), 10)
    store.close()
    loss = found.signals["loss"]
    assert sum(point.n for point in loss) == 1000
    assert (loss[0].low, loss[-1].high) == (1.0, 1000.0)
    assert sum(point.mean * point.n for point in loss) == pytest.approx(1000 * 1001 / 2)


def test_a_story_is_read_behind_a_line_and_holds_the_daemons_own_words(tmp_path: Path) -> None:
    lines = [TimelineLine(n, run, 1.0, "info", f"line {n}") for n, run in [(1, "r"), (2, ""), (3, "other"), (4, "r")]]
    _committed(tmp_path, Commit(timeline=lines))
    assert [line.n for line in reads.timeline(tmp_path / FILE_NAME, "r", after=0)] == [1, 2, 4]
    assert [line.n for line in reads.timeline(tmp_path / FILE_NAME, "r", after=2)] == [4]


def test_a_gap_between_the_state_and_the_journal_is_named(tmp_path: Path) -> None:
    """What is missing changed the state: a daemon that goes on from there must say that it does not know."""
    _committed(tmp_path, Commit(entries=_ticks(1, 10), snapshot=_snapshot(10)), Commit(entries=_ticks(11, 20)))
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute("DELETE FROM journal WHERE seq BETWEEN 11 AND 14")
    db.close()
    store, recalled = open_history(tmp_path)
    store.close()
    assert [e.seq for e in recalled.entries] == list(range(15, 21))
    assert recalled.troubles == ["the journal begins at entry 15, the state ends at 10: what lies between is lost"]


def test_a_journal_without_a_gap_is_no_trouble(tmp_path: Path) -> None:
    _committed(tmp_path, Commit(entries=_ticks(1, 10), snapshot=_snapshot(10)), Commit(entries=_ticks(11, 12)))
    store, recalled = open_history(tmp_path)
    store.close()
    assert recalled.troubles == []
