"""The limits of what a report and its charts show, and what they say of the rest."""

from __future__ import annotations

from xml.etree.ElementTree import fromstring

import msgspec
import pytest

from monitor.core.model import Cause, Diagnosis, EpochStatus, Incident
from monitor.core.model.curves import Point
from monitor.core.state.rows import EpochRow
from monitor.core.state.run import TrainingState
from monitor.report.chart import NAME_CHARS_MAX, Chart, Mark, line_of
from monitor.report.chart_annotations import EPOCHS_MAX as EPOCH_MARKS_MAX
from monitor.report.chart_annotations import marks
from monitor.report.diagnosis import SENTENCE_CHARS_MAX, likely_cause
from monitor.report.overview import METRICS_MAX, in_numbers
from monitor.report.report_input import ONSETS_MAX, shown_in_full
from monitor.report.stack_text import of_run
from monitor.report.svg import LABEL_CHARS_MAX, svg
from monitor.report.what_happened import EPOCHS_BEFORE, EPOCHS_MAX, epochs
from monitor.report.whole import blocks, markdown
from tests.harness.night import NOW_S, night
from tests.harness.report_inputs import report_input_of, rolled_back


def with_epochs(count: int) -> tuple[TrainingState, Incident]:
    """A training of that many epochs; its incident began in the fourth."""
    run, incident = night()
    training = run.training
    incident.onset = msgspec.structs.replace(incident.onset, generation=1, epoch=4)
    training.epochs[:] = [EpochRow(1, number, 100, 0.0, status=EpochStatus.ENDED) for number in range(1, count + 1)]
    return training, incident


def shown_epochs(lines: list[str]) -> list[int]:
    return [int(line.split("|")[1]) for line in lines if line.startswith("|") and line.split("|")[1].strip().isdigit()]


def test_of_many_epochs_those_around_the_onset_and_the_latest_stand_side_by_side_and_the_rest_is_counted() -> None:
    run, _ = night()
    training, incident = with_epochs(EPOCHS_MAX)
    whole = epochs(run, training, incident, NOW_S)
    assert shown_epochs(whole) == list(range(1, EPOCHS_MAX + 1))
    assert "left out" not in whole[-1]
    training, incident = with_epochs(EPOCHS_MAX + 5)
    cut = epochs(run, training, incident, NOW_S)
    latest = EPOCHS_MAX - EPOCHS_BEFORE - 1
    assert shown_epochs(cut) == [1, 2, 3, 4, *range(EPOCHS_MAX + 6 - latest, EPOCHS_MAX + 6)]
    assert cut[-1].startswith("5 rows between them left out;")


@pytest.mark.parametrize(("beyond", "ends"), [(0, "."), (3, " and 3 more.")])
def test_of_many_last_metrics_the_first_by_name_are_shown_and_the_rest_is_counted(beyond: int, ends: str) -> None:
    report_input = report_input_of(rolled_back())
    names = [f"m{number:02}" for number in range(METRICS_MAX + beyond)]
    report_input.training.final_metrics = dict.fromkeys(reversed(names), 0.5)
    (line,) = [line for line in in_numbers(report_input) if line.startswith("- Last metrics: ")]
    shown = ", ".join(f"{name} 0.5" for name in names[:METRICS_MAX])
    assert line == f"- Last metrics: {shown}{ends}"


def test_of_many_incidents_the_latest_are_told_in_full_and_the_table_has_all() -> None:
    report_input = report_input_of(rolled_back())
    incidents = report_input.training.ledger.incidents
    [first] = incidents
    incidents[:] = [msgspec.structs.replace(first, number=number) for number in range(1, ONSETS_MAX + 3)]
    assert [incident.number for incident in shown_in_full(report_input.training)] == list(range(3, ONSETS_MAX + 3))
    text = markdown(blocks(report_input))
    assert "\n## Incident 2" not in text
    assert "\n## Incident 3" in text
    table = text.split("\n## Incidents\n")[1].split("\n## ")[0]
    assert [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")][2:] == [
        str(number) for number in range(1, ONSETS_MAX + 3)
    ]


def test_the_name_of_a_curve_is_cut_with_an_ellipsis() -> None:
    one = [Point(1, 1, 1, 1, 1.0, 1.0, 1.0)]
    assert line_of("x" * NAME_CHARS_MAX, one, {1: 0.0}).name == "x" * NAME_CHARS_MAX
    assert line_of("x" * (NAME_CHARS_MAX + 1), one, {1: 0.0}).name == "x" * (NAME_CHARS_MAX - 1) + "…"


@pytest.mark.parametrize(
    ("count", "stride"), [(EPOCH_MARKS_MAX, 1), (EPOCH_MARKS_MAX + 1, 2), (EPOCH_MARKS_MAX * 7, 7)]
)
def test_a_chart_has_a_limited_number_of_lines_for_epochs_evenly_spread(count: int, stride: int) -> None:
    training, _ = with_epochs(count)
    labels = [mark.label for mark in marks(training) if mark.kind == "epoch"]
    assert labels == [f"epoch {number}" for number in range(1 + stride, count + 1, stride)]
    assert len(labels) < EPOCH_MARKS_MAX


@pytest.mark.parametrize("beyond", [0, 1])
def test_what_stands_above_a_mark_is_cut_and_those_who_point_at_it_read_all(beyond: int) -> None:
    name = "m" * (LABEL_CHARS_MAX + beyond)
    line = line_of("loss", [Point(1, n, n, 1, 1.0, 1.0, 1.0) for n in (1, 100)], {1: 0.0})
    root = fromstring(svg(Chart("Loss", [line], "batches", 0.0, 100.0, marks=[Mark(90.0, "onset", name)]), "k"))
    (label,) = [each.text for each in root.iter() if "label" in each.get("class", "").split()]
    assert label == (name if not beyond else "m" * (LABEL_CHARS_MAX - 1) + "…")
    assert name in [each.text for each in root.iter() if each.tag.endswith("title")]


def test_a_sentence_of_the_diagnosis_is_cut_with_an_ellipsis() -> None:
    run, incident = night()
    whole, long = "x" * SENTENCE_CHARS_MAX, "y" * (SENTENCE_CHARS_MAX + 1)
    cause = Cause("f", "title", 5.0, (whole, long), (), "a test")
    incident.diagnosis = Diagnosis(incident.onset, incident.onset, "onset", "f", "text", (cause,), (), (), memory="")
    lines = likely_cause(run, run.training, incident, NOW_S)
    assert [line for line in lines if "for: " in line] == [
        f"  - for: {whole}",
        f"  - for: {'y' * (SENTENCE_CHARS_MAX - 1)}…",
    ]


def test_the_report_says_how_many_stacks_gave_way_to_newer_ones() -> None:
    report_input = report_input_of(rolled_back())
    assert of_run(report_input) == []
    report_input.training.ledger.stacks.dropped = 3
    assert of_run(report_input)[-1] == "Stacks of before that were not kept: 3."
