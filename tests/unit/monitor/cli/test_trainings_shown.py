"""What `status RUN` and `checkpoints RUN` show of a run with several trainings, and of one with a single one."""

from __future__ import annotations

import msgspec

from monitor.cli.checkpoints_command import table
from monitor.cli.status_command import TRAININGS_SHOWN, training_rows
from monitor.daemon.api.snapshots import TrainingLine, checkpoints_of, detail_of
from tests.harness.script import Script


def two_trainings() -> Script:
    script = Script()
    for number in (1, 2):
        script.start(number)
        script.batches(number, 60)
        script.saved(number, 1)
    script.batches(1, 4, bad=True)
    script.end(1)
    return script


def test_each_training_has_a_row_with_its_own_counts() -> None:
    script = two_trainings()
    assert training_rows(detail_of(script.run, script.driver.now_s, 0)) == [
        ["1", "finished", "1/50", "64", "4", "1"],
        ["2", "training", "1/50", "60", "0", "0"],
    ]


def test_a_run_with_one_training_has_no_rows() -> None:
    script = Script()
    script.start(1)
    script.batches(1, 10)
    assert training_rows(detail_of(script.run, script.driver.now_s, 0)) == []


def test_of_very_many_trainings_the_last_are_shown() -> None:
    script = two_trainings()
    many = tuple(TrainingLine(n, "finished", 1, 1, 1, 10, 0, 0) for n in range(1, TRAININGS_SHOWN + 6))
    found = msgspec.structs.replace(detail_of(script.run, script.driver.now_s, 0), trainings=many)
    assert [row[0] for row in training_rows(found)] == [str(n) for n in range(6, TRAININGS_SHOWN + 6)]


def test_checkpoints_name_their_training_where_there_is_more_than_one() -> None:
    script = two_trainings()
    heads, rows = table(checkpoints_of(script.run))
    assert heads == ["training", "epoch", "verdict", "why"]
    assert [row[:2] for row in rows] == [["1", "1"], ["2", "1"]]
    script = Script()
    script.start(1)
    script.batches(1, 60)
    script.saved(1, 1)
    assert table(checkpoints_of(script.run))[0] == ["epoch", "verdict", "why"]
