"""Losses that a log prints with few digits, and the results of validations that it holds."""

from __future__ import annotations

import math
import random

import pytest

from tests.unit.monitor.test_logs_of_each_kind import alarms, judged


def printed(level: float, digits: int, *, times: float = 1.0, zeros: float = 0.0, seed: int = 1) -> str:
    """A loss that falls to `level`, and is `times` as high from row 1000 on; a share of the rows are exactly zero."""
    draw = random.Random(seed)
    rows = []
    for at in range(1500):
        value = (2.0 * math.exp(-at / 60) + level) * math.exp(draw.gauss(0, 0.3))
        value *= (times if at >= 1000 else 1.0) * (at < 300 or draw.random() >= zeros)
        rows.append(f"{at},{value:.{digits}f}\n")
    return "step,loss\n" + "".join(rows)


@pytest.mark.parametrize(("level", "digits"), [(0.0001, 4), (0.00005, 4), (0.002, 3), (0.01, 2), (0.05, 1)])
def test_a_loss_that_is_printed_with_few_digits_is_not_taken_for_one_that_jumps(level: float, digits: int) -> None:
    assert not alarms(judged(printed(level, digits)))


@pytest.mark.parametrize("zeros", [0.2, 0.5, 0.8])
def test_a_loss_that_is_exactly_zero_in_many_batches_is_healthy(zeros: float) -> None:
    """As a triplet loss, and one of policies that are all rewarded alike."""
    assert not alarms(judged(printed(0.4, 4, zeros=zeros)))


@pytest.mark.parametrize(("level", "digits"), [(0.0005, 4), (0.01, 2), (0.4, 1)])
def test_a_rise_beyond_the_printed_digits_is_found(level: float, digits: int) -> None:
    assert 1000 <= min(alarms(judged(printed(level, digits, times=12.0))).values()) < 1010


@pytest.mark.parametrize(("level", "digits"), [(0.4, 4), (0.4, 2), (2.0, 1)])
def test_a_loss_that_falls_to_nothing_is_found_where_its_level_is_far_above_the_printed_digits(
    level: float, digits: int
) -> None:
    assert alarms(judged(printed(level, digits, times=0.0)))["collapse"] == 1019


def test_a_loss_scale_that_halves_down_to_nothing_is_found_in_the_first_rows_too() -> None:
    rows = [f"{at},{2 - at / 100},{65536 / 2 ** (at // 4):g}" for at in range(100)]
    assert alarms(judged("\n".join(["step,loss,loss_scale", *rows, ""]))) == {"loss_scale": 68}
    searching = [f"{at},{2 - at / 100},{2.0**32 / 2 ** min(at, 14):g}" for at in range(100)]
    assert not alarms(judged("\n".join(["step,loss,loss_scale", *searching, ""])))


COLUMNS = {
    "YOLO11": ("metrics/mAP50(B)", "metrics/mAP50-95(B)"),
    "a segmentation": ("metrics/mAP50-95(B)", "metrics/mAP50-95(M)"),
    "YOLOv5": ("metrics/mAP_0.5", "metrics/mAP_0.5:0.95"),
    "a classifier": ("metrics/accuracy_top1", "metrics/accuracy_top5"),
}


def results(names: tuple[str, ...], *, zero_from: int = 99, flickers: float = 0.0) -> str:
    """A results.csv whose metrics fall to zero."""
    draw = random.Random(4)
    rows = []
    for epoch in range(60):
        loss = 2 * math.exp(-epoch / 15) + 0.5 + draw.gauss(0, 0.01)
        value = 0.6 * (1 - math.exp(-epoch / 10)) * (epoch < zero_from and draw.random() >= flickers)
        rows.append(",".join(map(str, (epoch + 1, f"{loss:.5f}", *[f"{value:.5f}"] * len(names), 0.01))))
    return "\n".join([",".join(("epoch", "train/loss", *names, "lr/pg0")), *rows, ""])


@pytest.mark.parametrize("names", COLUMNS.values(), ids=COLUMNS)
def test_a_results_csv_whose_fitness_falls_to_zero_and_stays_there_is_told(names: tuple[str, ...]) -> None:
    assert alarms(judged(results(names, zero_from=40))) == {"validation": 42}


@pytest.mark.parametrize("log", [{}, {"flickers": 0.1}, {"zero_from": 0}], ids=["rises", "flickers", "never left zero"])
def test_a_fitness_that_flickers_or_never_left_zero_is_silent(log: dict[str, float]) -> None:
    names = COLUMNS["YOLO11"]
    assert not alarms(judged(results(names, zero_from=int(log.get("zero_from", 99)), flickers=log.get("flickers", 0))))
