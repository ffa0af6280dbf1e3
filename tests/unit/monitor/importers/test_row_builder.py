"""What is told from the order of the rows: restarts, overflows, streaks, epochs."""

from __future__ import annotations

import math

from monitor.recorded.importers import read_log
from monitor.recorded.importers.imported_run import ImportedRun
from monitor.recorded.importers.records import GenerationBegins, records
from trainer_hooks.wire.messages import BatchEnded, EpochEnded, Nonfinite


def run_of(*rows: str, header: str = "step,loss,grad_norm") -> ImportedRun:
    return read_log("\n".join([header, *rows, ""]).encode(), "run.csv")


def batches(run: ImportedRun) -> list[BatchEnded]:
    return [record for _, record in records(run) if isinstance(record, BatchEnded)]


def test_one_gradient_that_overflows_is_a_scalers_skip_and_a_second_one_in_a_row_is_not() -> None:
    run = run_of("1,2.0,inf", "2,1.9,1.0", "3,1.9,nan", "4,1.8,nan")
    assert [row.overflow for row in run.rows] == [True, False, True, False]
    counts = batches(run)[-1].counts
    assert (counts.scaler_overflows, counts.nonfinite_batches, counts.nonfinite_gradient) == (2, 1, 1)


def test_a_gradient_that_was_never_measured_is_no_alarm() -> None:
    run = run_of("1,2.0,nan", "2,1.9,nan", "3,1.8,nan")
    assert [row.nonfinite for row in run.rows] == [0, 0, 0]


def test_a_spell_of_nan_is_told_once_and_counted_each_time() -> None:
    bad = [f"{i},nan,1.0" for i in range(2, 30)]
    run = run_of("1,2.0,1.0", *bad)
    assert sum(len(row.events) for row in run.rows) == 1
    assert batches(run)[-1].counts.nonfinite_batches == 28


def test_a_spell_after_fifty_finite_rows_is_another_one() -> None:
    calm = [f"{i},2.0,1.0" for i in range(2, 60)]
    run = run_of("1,nan,1.0", *calm, "60,nan,1.0")
    assert [row.index for row in run.rows if row.events] == [0, 59]


def test_counts_begin_anew_with_a_generation() -> None:
    run = run_of("1,nan,1.0", "2,2.0,1.0", "1,1.5,1.0")
    begun = [record.number for _, record in records(run) if isinstance(record, GenerationBegins)]
    assert begun == [1, 2]
    assert [b.counts.nonfinite_batches for b in batches(run)] == [1, 1, 0]
    assert [b.counts.batches for b in batches(run)] == [1, 2, 1]


def test_validations_close_epochs_where_the_log_has_none() -> None:
    run = run_of("1,2.0,", "2,1.9,2.1", "3,1.8,", "4,1.7,2.0", header="step,loss,val_loss")
    ended = [(r.epoch, r.metrics) for _, r in records(run) if isinstance(r, EpochEnded)]
    assert ended == [(1, {"val_loss": 2.1}), (2, {"val_loss": 2.0})]
    assert [(b.epoch, b.batch) for b in batches(run)] == [(1, 0), (1, 1), (2, 0), (2, 1)]


def test_the_last_epoch_ends_with_the_log() -> None:
    run = run_of("1,0,2.0", "2,0,1.9", "3,1,1.8", header="step,epoch,loss")
    assert [r.epoch for _, r in records(run) if isinstance(r, EpochEnded)] == [1, 2]


def test_a_number_too_large_for_a_step_is_none() -> None:
    run = run_of("1e300,2.0,1.0", "nan,1.9,1.0", "3,1.8,1.0")
    assert [row.step for row in run.rows] == [0, 1, 3]


def test_a_column_without_a_name_is_an_index_and_means_nothing() -> None:
    run = run_of("0,1,2.0", "1,2,1.9", header=",step,loss")
    assert [(row.loss, row.step, row.grad_norm, row.loss_scale) for row in run.rows] == [
        (2.0, 1, None, None),
        (1.9, 2, None, None),
    ]


def test_bits_of_loss_and_gradient_stand_apart() -> None:
    run = run_of("1,2.0,1.0", "2,nan,nan", "3,inf,1.0")
    assert [row.nonfinite for row in run.rows] == [0, Nonfinite.LOSS | Nonfinite.GRADIENT, Nonfinite.LOSS]
    assert math.isinf(run.rows[2].loss or 0.0)
