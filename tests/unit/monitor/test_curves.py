"""The curves of a run: every batch where it is kept and fits, roll-ups elsewhere, and none twice."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from monitor.core.model import Entry, RecordArrived
from monitor.history import schema
from monitor.history.curve_query import Range, curves
from monitor.history.recall import FILE_NAME, open_history
from monitor.history.store import Store
from monitor.history.transaction_rows import Commit
from tests.harness.trainer import batch
from trainer_hooks.wire.messages import Counts


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened, _ = open_history(tmp_path)
    yield opened
    opened.close()


def trained(store: Store, batches: int, *, generation: int = 1, bad: frozenset[int] = frozenset()) -> None:
    """Batches whose loss is their number, in commits of 100."""
    entries = []
    for i in range(1, batches + 1):
        record = batch(Counts(batches=i), bad=i in bad)
        if i not in bad:
            record = msgspec.structs.replace(record, loss=float(i), memory_allocated=1000 + i)
        seq = generation * 1_000_000 + i
        entries.append(Entry(seq, 1000.0 + seq, RecordArrived("r", generation, 0, record)))
    for first in range(0, len(entries), 100):
        store.commit(Commit(entries=entries[first : first + 100]))


def test_a_short_run_is_shown_batch_by_batch(store: Store) -> None:
    trained(store, 500)
    found = curves(store.path, Range("r"))
    assert found.width == 1
    loss = found.signals["loss"]
    assert [(p.first, p.last, p.n, p.mean) for p in loss[:2]] == [(1, 1, 1, 1.0), (2, 2, 1, 2.0)]
    assert len(loss) == 500
    assert found.signals["allocated"][9].mean == 1010


def test_each_part_of_the_loss_and_each_group_has_its_own_curve(store: Store) -> None:
    trained(store, 40)
    found = curves(store.path, Range("r")).signals
    assert [found[f"part/{i}"][0].mean for i in range(3)] == [1.0, 0.5, 0.5]
    assert (found["learning_rate"][0].mean, found["rate/1"][0].mean, found["rate/2"][0].mean) == (0.01, 0.01, 0.1)


@pytest.mark.parametrize("points", [7, 100, 600])
def test_a_long_run_keeps_every_batch_in_exactly_one_point(store: Store, points: int) -> None:
    trained(store, 3000)
    found = curves(store.path, Range("r"), points)
    loss = found.signals["loss"]
    assert sum(p.n for p in loss) == 3000
    assert sum(p.mean * p.n for p in loss) == pytest.approx(3000 * 3001 / 2)
    assert min(p.low for p in loss) == 1.0
    assert max(p.high for p in loss) == 3000.0
    assert points / 2 <= len(loss) <= 2 * points
    assert all(p.last - p.first + 1 == found.width for p in loss)


def test_batches_that_are_not_finite_are_counted_and_leave_the_loss_alone(store: Store) -> None:
    trained(store, 320, bad=frozenset({100, 101, 200}))
    found = curves(store.path, Range("r")).signals
    assert [p.first for p in found["nonfinite"] if p.mean > 0] == [100, 101, 200]
    assert sum(p.n for p in found["loss"]) == 317
    assert all(math.isfinite(p.mean) for points in found.values() for p in points)


def test_generations_keep_their_own_count(store: Store) -> None:
    trained(store, 64)
    trained(store, 32, generation=2)
    loss = curves(store.path, Range("r")).signals["loss"]
    assert [(p.generation, p.first) for p in loss if p.first == 1] == [(1, 1), (2, 1)]
    assert len(loss) == 96


def test_a_window_holds_its_own_batches_only(store: Store) -> None:
    trained(store, 2000)
    trained(store, 50, generation=2)
    loss = curves(store.path, Range("r", generation=1, first=500, last=700)).signals["loss"]
    assert [loss[0].first, loss[-1].last, len(loss)] == [500, 700, 201]


def test_where_the_batches_are_trimmed_the_roll_ups_stand_in(store: Store) -> None:
    trained(store, 800)
    with sqlite3.connect(store.path) as db:
        db.execute("DELETE FROM samples WHERE count <= 400")
    db.close()
    found = curves(store.path, Range("r", first=100, last=300))
    assert found.width == schema.LEVELS[0]
    assert (found.signals["loss"][0].first, found.signals["loss"][-1].last) == (97, 304)
    assert curves(store.path, Range("r", first=500, last=600)).width == 1


def test_a_run_that_nobody_recorded_has_no_curve(store: Store) -> None:
    assert curves(store.path, Range("../../etc/passwd")).signals == {}


def test_a_history_that_is_missing_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        curves(tmp_path / FILE_NAME, Range("r"))
    assert list(tmp_path.iterdir()) == []


def test_a_history_of_the_version_before_is_taken_over(tmp_path: Path) -> None:
    """Its batches stay; what it did not record has no curve."""
    old = schema.TABLES.replace(",\n  allocated INTEGER, more BLOB", "")
    assert old != schema.TABLES
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.executescript(f"{old} PRAGMA user_version = 1;")
        db.execute("INSERT INTO samples VALUES (1, 'r', 1, 0, 1, 1, 0, 5.0, 2.5, NULL, 0, 0.1, NULL, NULL, NULL)")
        db.execute("INSERT INTO rollups VALUES ('r', 0, 16, 1, 0, 'nonfinite', 5.0, 5.0, 1, 0, 0, 0)")
    db.close()
    store, recalled = open_history(tmp_path)
    store.close()
    assert not recalled.begun_anew
    found = curves(tmp_path / FILE_NAME, Range("r")).signals
    assert found["loss"][0].mean == 2.5
    assert "allocated" not in found
