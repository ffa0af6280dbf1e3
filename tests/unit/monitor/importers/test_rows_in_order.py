"""What is told from how the rows follow each other: other writers, epochs without a name, a loss that goes away."""

from __future__ import annotations

import itertools
import json
import math
import random

import pytest

from monitor.recorded.importers import read_log
from monitor.recorded.importers.imported_run import ImportedRun
from monitor.recorded.importers.kept_samples import KEPT_SAMPLES_MAX

SEED = 11


def of_steps(steps: list[int], losses: list[float] | None = None) -> ImportedRun:
    losses = losses or [2.5] * len(steps)
    lines = (json.dumps({"step": step, "loss": loss}) for step, loss in zip(steps, losses, strict=True))
    return read_log("\n".join([*lines, ""]).encode(), "x.jsonl")


def generations(run: ImportedRun) -> int:
    return run.rows[-1].generation


@pytest.mark.parametrize("writers", [2, 4, 8])
def test_several_processes_that_write_one_file_are_no_restarts(writers: int) -> None:
    """Each is a little ahead or behind, by chance."""
    draw = random.Random(SEED + writers)
    print(f"seed {SEED + writers}")
    steps = [0] * writers
    written = []
    while min(steps) < 200:
        writer = min(range(writers), key=lambda w: (steps[w] + draw.choice([0, 0, 1]), draw.random()))
        written.append(steps[writer])
        steps[writer] += 1
    assert any(after < before for before, after in itertools.pairwise(written)), "the writers are not mixed"
    run = of_steps(written)
    assert generations(run) == 1
    assert len(run.rows) == len(written)


@pytest.mark.parametrize("behind", [0, 1, 2])
def test_two_processes_of_which_one_is_always_behind_are_no_restarts_up_to_the_last_row(behind: int) -> None:
    written = [place for at in range(1, 200) for place in (at, max(1, at - behind))]
    run = of_steps(written)
    assert (generations(run), len(run.rows)) == (1, 398)


def test_a_restart_of_two_processes_that_write_one_file_is_one() -> None:
    written = [place for at in range(1, 100) for place in (at, max(1, at - 1))]
    again = [place for at in range(50, 200) for place in (at, max(50, at - 1))]
    assert generations(of_steps([*written, *again])) == 2


def test_a_restart_from_a_checkpoint_is_one_however_soon_it_catches_up() -> None:
    assert generations(of_steps([*range(0, 200, 20), *range(160, 400, 20)])) == 2
    assert generations(of_steps([*range(0, 200, 20), *range(180, 400, 20)])) == 1, "a repeated step is none"
    assert generations(of_steps([*range(100), *range(50, 300)])) == 2


def test_short_runs_one_after_another_are_restarts() -> None:
    for rows in (3, 5):
        assert generations(of_steps([*range(rows)] * 6, [2.5 / (1 + i) for i in range(rows)] * 6)) == 6


def iterations(epochs: int, rows: int, loss_of: object) -> ImportedRun:
    assert callable(loss_of)
    draw = random.Random(SEED)
    print(f"seed {SEED}")
    lines = [
        f"iter {i} loss {loss_of(epoch, i) + draw.gauss(0, 0.01):.4f}" for epoch in range(epochs) for i in range(rows)
    ]
    return read_log("\n".join([*lines, ""]).encode(), "x.log")


def test_an_iteration_that_begins_anew_while_the_loss_goes_on_ends_an_epoch() -> None:
    run = iterations(6, 40, lambda epoch, i: 0.3 + 2.3 * math.exp(-(40 * epoch + i) / 60))
    assert generations(run) == 1
    assert [row.epoch for row in run.rows if row.batch == 0] == [1, 2, 3, 4, 5, 6]
    assert [row.index for row in run.rows if row.epoch_ends] == [39, 79, 119, 159, 199, 239]


def test_folds_begin_anew_with_their_loss() -> None:
    run = iterations(6, 40, lambda _, i: 0.3 + 2.3 * math.exp(-i / 10))
    assert generations(run) == 6


def test_one_reset_is_a_restart() -> None:
    assert generations(iterations(2, 40, lambda epoch, i: 2.5 - (40 * epoch + i) / 100)) == 2


@pytest.mark.parametrize("kind", ["csv", "null", "key"])
def test_a_loss_that_goes_away_while_the_rest_goes_on_is_told_at_its_row(kind: str) -> None:
    lines = ["step,loss,lr"] if kind == "csv" else []
    for step in range(60):
        loss = 2.5 - step / 100 if step < 40 else None
        if kind == "csv":
            lines.append(f"{step},{'' if loss is None else loss},0.001")
        else:
            row = {"step": step, "loss": loss, "lr": 0.001}
            lines.append(json.dumps({k: v for k, v in row.items() if v is not None or kind == "null"}))
    run = read_log("\n".join([*lines, ""]).encode(), "x")
    assert len(run.rows) == 60
    assert [row.index for row in run.rows if row.nonfinite] == list(range(40, 60))
    assert [(row.index, event.kind) for row in run.rows for event in row.events] == [(40, "loss vanished")]


def test_a_loss_that_is_logged_now_and_then_is_not_missed_in_between() -> None:
    rows = [{"step": i, "lr": 0.001, **({"loss": 2.5} if i % 10 == 0 else {})} for i in range(200)]
    run = read_log("".join(json.dumps(row) + "\n" for row in rows).encode(), "x.jsonl")
    assert len(run.rows) == 20
    assert [event for row in run.rows for event in row.events] == []


def test_a_loss_that_comes_back_was_not_gone() -> None:
    rows = [{"step": i, "lr": 0.001, **({} if i in (30, 31) else {"loss": 2.5})} for i in range(60)]
    run = read_log("".join(json.dumps(row) + "\n" for row in rows).encode(), "x.jsonl")
    assert [row.nonfinite for row in run.rows] == [0] * 58


def test_a_learning_rate_on_rows_of_its_own_is_no_missing_loss() -> None:
    """As Lightning's monitor of the rate writes it."""
    lines = ["epoch,step,train_loss,lr-Adam"]
    for step in range(0, 300, 10):
        lines += [f",{step},,0.001", f"0,{step},2.5,"]
    run = read_log("\n".join([*lines, ""]).encode(), "metrics.csv")
    assert len(run.rows) == 30
    assert sum(row.nonfinite for row in run.rows) == 0


def test_a_long_log_is_read_anew_into_the_same_rows() -> None:
    """More samples than are kept: the rows, the extent and what is reported about them are those of a short one."""
    count = KEPT_SAMPLES_MAX + 1000
    text = "step,epoch,loss\n" + "".join(
        f"{i},{i // 1000},{'nan' if i % 9999 == 9998 else 2.5}\n" for i in range(count)
    )
    run = read_log(text.encode(), "x.csv")
    rows = list(run.rows)
    assert not isinstance(run.rows, list)
    assert len(run.rows) == len(rows) == count == run.extent.rows
    assert [row.index for row in rows if row.nonfinite] == [*range(9998, count, 9999)]
    assert (run.extent.epochs, run.extent.batches_per_epoch, len(run.extent.epoch_ends)) == (count // 1000, 1000, 51)
    assert run.rows[-1] == rows[-1]
    assert run.rows[2:4] == rows[2:4]
    assert run.extent.last.index == count - 1
