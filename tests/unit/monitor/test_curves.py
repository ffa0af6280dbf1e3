"""The curves of a run: every batch where it is kept and fits, roll-ups elsewhere, and none twice."""

from __future__ import annotations

import itertools
import math
import random
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from monitor.core.model import Entry, RecordArrived
from monitor.history import curve_query, raw_batches, rollups, schema
from monitor.history.chart_query import chart
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


def committed(store: Store, counts: list[int], generation: int = 1) -> None:
    """One commit of batches whose loss is their number."""
    entries = []
    for count in counts:
        record = msgspec.structs.replace(batch(Counts(batches=count)), loss=float(count))
        seq = next(SEQUENCE)
        entries.append(Entry(seq, 1000.0 + seq, RecordArrived("r", generation, 0, record)))
    store.commit(Commit(entries=entries))


SEQUENCE = itertools.count(1)
AS_A_WHOLE = [1, 3, 10, 60, 300, 2000]


def holds_all(store: Store, counts: list[int]) -> None:
    """Every batch is in exactly one point, at every width."""
    for points in AS_A_WHOLE:
        loss = curves(store.path, Range("r"), points).signals["loss"]
        assert sum(p.n for p in loss) == len(counts), points
        assert sum(p.mean * p.n for p in loss) == pytest.approx(sum(counts)), points
        assert all(p.first <= p.low <= p.high <= p.last for p in loss), points


@pytest.mark.parametrize("seed", range(4))
def test_a_coarser_roll_up_is_its_finer_ones_whatever_is_dropped_or_comes_late(store: Store, seed: int) -> None:
    """Commits of 1 to 40 batches; some batches never come, and some commits change places."""
    draw = random.Random(seed)
    counts = [count for count in range(1, 6000) if draw.random() < 0.9 and not 2000 < count < 2300]
    commits = []
    while counts:
        size = draw.randint(1, 40)
        commits.append(counts[:size])
        counts = counts[size:]
    for i in range(0, len(commits) - 40, 7):
        if draw.random() < 0.2:
            other = i + draw.randint(1, 30)
            commits[i], commits[other] = commits[other], commits[i]
    for commit in commits:
        committed(store, commit)
    every = [count for commit in commits for count in commit]
    holds_all(store, every)
    levels = [level for (level,) in store.rows("SELECT DISTINCT level FROM rollups ORDER BY level")]
    assert levels == [16, 64, 256, 1024, 4096]
    for level in levels:
        rows = store.rows("SELECT bucket, n, low, high FROM rollups WHERE level = ? AND signal = 'loss'", level)
        for bucket, n, low, high in rows:
            within = [count for count in every if bucket * level < count <= (bucket + 1) * level]
            assert (n, low, high) == (len(within), min(within), max(within)), (level, bucket)


def as_of_version_2(path: Path) -> None:
    """Its coarser roll-ups, 256 and 4096, were kept up to date batch by batch."""
    coarser = """
      INSERT INTO rollups SELECT run, rank, ?1, generation, bucket / ?2, signal, min(from_s), max(to_s), sum(n),
        sum(total), min(low), max(high)
      FROM rollups WHERE level = 16 GROUP BY run, rank, signal, generation, bucket / ?2
    """
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM rollups WHERE level > 16")
        for level in (256, 4096):
            db.execute(coarser, (level, level // 16))
        db.executescript(
            "DROP INDEX samples_by_count; CREATE INDEX samples_in_time ON samples (run, rank, at_s);"
            "PRAGMA user_version = 2;"
        )
    db.close()


def test_a_run_goes_on_over_the_change_of_its_roll_ups(tmp_path: Path) -> None:
    before, after = list(range(1, 4700)), list(range(4700, 9000))
    store, _ = open_history(tmp_path)
    for first in range(0, len(before), 100):
        committed(store, before[first : first + 100])
    store.close()
    as_of_version_2(store.path)
    for points in AS_A_WHOLE:  # read by a command, while no daemon has opened it
        assert sum(p.n for p in curves(store.path, Range("r"), points).signals["loss"]) == len(before)
    store, recalled = open_history(tmp_path)
    assert not recalled.begun_anew
    holds_all(store, before)
    for first in range(0, len(after), 100):
        committed(store, after[first : first + 100])
        if first % 1000 == 0:
            holds_all(store, before + after[: first + 100])
    holds_all(store, before + after)
    store.close()


def test_every_query_of_a_chart_is_led_to_its_rows_by_a_key(store: Store) -> None:
    """One that scans a table takes longer for every batch that any run ever had."""
    trained(store, 300)
    asked = [curve_query.ENDS, curve_query.PIECE, curve_query.NEXT_GENERATION, rollups.NEXT_SIGNAL, rollups.THERE]
    asked += [rollups.NEWEST, rollups.LOWEST, raw_batches.MORE, raw_batches._aggregates(["loss"]), schema.FILL_ROLLUP]
    for sql in asked:
        names = len(set(re.findall(r"\?\d", sql))) or sql.count("?")
        plan = [row[3] for row in store.rows(f"EXPLAIN QUERY PLAN {sql}", *[1] * names)]
        looks = [line for line in plan if line.startswith(("SEARCH", "SCAN"))]
        led = ("PRIMARY KEY (run=? AND rank=? AND level=?", "samples_by_count (run=? AND rank=? AND generation=?")
        assert [line for line in looks if not any(by in line for by in led) and line != "SCAN CONSTANT ROW"] == [], sql


def test_a_chart_has_every_signal_over_one_axis(store: Store) -> None:
    trained(store, 320, bad=frozenset({100, 101, 200}))
    found = chart(store.path, Range("r"), 20, ("loss", "part/1", "nothing"))
    assert (found.width, found.first, found.n) == (16, list(range(1, 321, 16)), [16] * 20)
    assert [found.first[i] for i, bad in enumerate(found.bad) if bad] == [97, 193]
    assert sorted(found.signals) == ["loss", "part/1"]
    assert (found.signals["loss"].low or [])[:2] == [1.0, 17.0]
    assert found.at_s == sorted(found.at_s)
    alone = chart(store.path, Range("r", first=95, last=105), 600)
    assert (alone.width, alone.first, alone.bad[5:7]) == (1, list(range(95, 106)), [1, 1])
    assert alone.signals["loss"].mean[4:8] == [99.0, None, None, 102.0]
    assert alone.signals["loss"].low is None
    assert chart(store.path, Range("nobody"), 600).signals == {}
