"""What the tables of real trainings call worse."""

from __future__ import annotations

import msgspec

from tests.bench.never_worse.protections import OURS, Protection, Result
from tests.bench.never_worse.table import faults_of, text_of

HEALTHY = {1: 0.50, 2: 0.46}  # mAP50 by seed: a spread of 0.04


def _result(row: str, protection: Protection, seed: int, last_map: float | None) -> Result:
    return Result(
        row=row,
        protection=protection,
        seed=seed,
        last_map=last_map,
        best_map=last_map,
        batches=160,
        seconds=20.0,
        code=0,
        fired=row != "healthy",
        epochs=8,
        table=f"table {seed}",
        weights=f"weights {seed}",
    )


def _row(row: str, ours: float | None, others: float = 0.0) -> list[Result]:
    return [
        _result(row, protection, seed, ours if protection in OURS else others)
        for protection in Protection
        for seed in HEALTHY
    ]


def _healthy() -> list[Result]:
    return [_result("healthy", protection, seed, final) for protection in Protection for seed, final in HEALTHY.items()]


def test_a_final_map_within_the_spread_of_the_healthy_seeds_is_not_worse() -> None:
    assert faults_of([*_healthy(), *_row("burst", ours=0.41, others=0.44)]) == []


def test_a_final_map_below_the_best_other_column_by_more_than_the_spread_is_worse() -> None:
    found = faults_of([*_healthy(), *_row("burst", ours=0.39, others=0.44)])
    assert found == [f"burst: {ours} ends at 0.390, the best other column at 0.440 (spread 0.040)" for ours in OURS]


def test_a_training_that_left_no_epoch_is_worse_than_one_that_did() -> None:
    assert len(faults_of([*_healthy(), *_row("burst", ours=None, others=0.44)])) == len(OURS)


def test_a_healthy_training_that_ends_with_other_weights_is_a_fault() -> None:
    healthy = _healthy()
    changed = [
        msgspec.structs.replace(r, weights="other") if r.protection is Protection.DEFAULT else r for r in healthy
    ]
    assert faults_of(changed) == [
        f"healthy, seed {seed}, trainwarden: not what Ultralytics alone gives" for seed in HEALTHY
    ]


def test_a_fault_that_never_happened_is_said() -> None:
    silent = [msgspec.structs.replace(r, fired=0) for r in _row("burst", ours=0.5, others=0.5)]
    assert faults_of(silent)[0] == "burst, seed 1, no protection: the fault never happened"


def test_both_tables_have_a_line_for_each_row_that_was_trained() -> None:
    text = text_of([*_healthy(), *_row("burst", ours=None)])
    assert text.count("| healthy | 0.500, 0.460 |") == 1
    assert text.count("| healthy | 160, 160; 20, 20 s; 0 |") == 1
    assert text.count("| none, none | none, none |") == 1


def test_a_cell_that_was_not_trained_says_so() -> None:
    text = text_of([_result("healthy", Protection.NONE, 1, 0.5)])
    assert text.count("| not trained | not trained | not trained | not trained |") == 2
