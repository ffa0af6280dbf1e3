"""Two runs side by side."""

from __future__ import annotations

import msgspec
import pytest

from monitor.report.compare import blocks
from monitor.report.whole import markdown
from tests.harness.report_inputs import report_input_of, rolled_back
from tests.harness.simulation import Simulation, supervised
from tests.unit.monitor.test_run_report import rows, section


@pytest.fixture(scope="module")
def text() -> str:
    return markdown(blocks(report_input_of(rolled_back(), title="bad"), report_input_of(_calm(), title="good")))


def _calm() -> Simulation:
    simulation = supervised(epochs=9, batches_per_epoch=120, batch_s=2.0)
    simulation.train()
    training = simulation.run.training.starts[0]
    settings = training.settings | {"lr0": "0.001", "mosaic": "1.0"}
    simulation.run.training.starts[0] = msgspec.structs.replace(
        training, settings=settings, versions={"ultralytics": "8.3.213"}
    )
    return simulation


def test_only_what_differs_is_listed_and_the_rest_is_counted(text: str) -> None:
    told = rows(text, "What differs")
    assert "| setting | lr0 | 0.0005 | 0.001 |" in told
    assert "| setting | mosaic | not recorded | 1.0 |" in told
    assert "| version | ultralytics | 8.4.190 | 8.3.213 |" in told
    assert "| environment | epochs | 8 | 9 |" in told
    assert not any("momentum" in row and "setting" in row for row in told)
    assert "The same in both: " in section(text, "What differs")


def test_epochs_stand_side_by_side_and_a_missing_one_is_a_dash(text: str) -> None:
    told = rows(text, "Epochs side by side")
    assert len(told) == 9
    assert "| 2 min 0 s | 4 min 0 s |" in told[3], "of the epoch that was redone the last pass"
    assert told[8].startswith("| 9 | - | 2 | - |")


def test_time_memory_and_counts_are_set_against_each_other(text: str) -> None:
    told = {row.split(" | ")[0].strip("| "): row for row in rows(text, "In numbers")}
    assert told["time of a batch itself"].endswith("| 1 s | 2 s |")
    assert told["incidents"] == "| incidents | 1 | 0 |"
    assert told["rollbacks"] == "| rollbacks | 1 | 0 |"
    assert "4.71 GiB reserved" in told["GPU memory at most"]


def test_metrics_findings_and_incidents_are_compared(text: str) -> None:
    assert "| mAP50 | 0.7 | 0.7 | 0 |" in rows(text, "Last metrics")
    assert "| poisoned_state | critical | 1 | 0 |" in rows(text, "Findings")
    assert [row[:7] for row in rows(text, "Incidents")] == ["| A | 1"]


def test_the_curves_lie_over_each_other_with_the_marks_of_both() -> None:
    (figure,) = [f for block in blocks(report_input_of(rolled_back()), report_input_of(_calm())) for f in block.figures]
    assert [[line.name[:2] for line in chart.lines] for chart in figure.charts] == [["A:", "B:"]] * 5
    assert {mark.label for mark in figure.charts[0].marks} == {"A: onset 1", "A: back to epoch 3"}
    assert figure.charts[0].last == 9 * 120


def test_a_run_compared_with_itself_differs_in_nothing() -> None:
    report_input = report_input_of(rolled_back())
    assert "Nothing: all " in markdown(blocks(report_input, report_input))
