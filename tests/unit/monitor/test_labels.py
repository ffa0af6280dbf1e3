"""Labels of runs: how they are read, and what recall, delay and false alarms they give."""

from __future__ import annotations

import pytest

from monitor.core.model import Severity
from monitor.recorded.backtest.labelled_runs import Label, LabelsError, read_labels, score, wrong
from monitor.recorded.backtest.result import Fired, Result


def result(path: str, *fired: tuple[int, Severity], rows: int = 1000) -> Result:
    told = [Fired(severity, "loss_spike", row, row, 1, row, row, "it jumps") for row, severity in fired]
    return Result(path, "csv", "batch", rows, 1, 0, told, [], "")


def test_labels_are_read_by_the_names_of_their_columns() -> None:
    text = "kind,file,label,nan_onset_row,repo\ncsv,a.csv,Healthy,,x/y\ncsv,b.csv,nan,17,x/z\n"
    assert read_labels(text, "index.csv") == [
        Label("a.csv", "healthy", None, "x/y"),
        Label("b.csv", "nan", 17, "x/z"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,kind\na,b\n", r"l\.csv: has the columns path, kind; it needs path and label"),
        ("", r"l\.csv: has the columns none"),
        ("path,label,onset\na,nan,soon\n", r"l\.csv: line 2: onset 'soon' is not a row; write a whole number from 0"),
    ],
)
def test_a_file_that_holds_no_labels_is_refused(text: str, said: str) -> None:
    with pytest.raises(LabelsError, match=said):
        read_labels(text, "l.csv")


def test_recall_delay_and_false_alarms_are_counted_by_label() -> None:
    judged = [
        (Label("a", "healthy"), result("a")),
        (Label("b", "healthy"), result("b", (5, Severity.WARNING), (9, Severity.INFO))),
        (Label("c", "nan", 100), result("c", (50, Severity.WARNING), (103, Severity.CRITICAL))),
        (Label("d", "nan", 100), result("d", (40, Severity.WARNING))),
        (Label("e", "nan", 100), result("e")),
        (Label("f", "plateau"), result("f")),
    ]
    found = score(judged)
    assert [share.label for share in found.shares] == ["healthy", "nan", "plateau"]
    nan = found.shares[1]
    assert (nan.runs, nan.told, nan.acted, nan.onsets, nan.found) == (3, 2, 1, 3, 1)
    assert (nan.delay_median_rows, nan.delay_p95_rows) == (3, 3)
    assert (found.bad, found.bad_told, found.false_alarms) == (3, 2, 1)
    assert found.false_alarms_per_million_rows == pytest.approx(500.0)


def test_a_label_tells_what_is_wrong_with_what_was_said() -> None:
    warned = result("a", (5, Severity.WARNING))
    assert wrong(Label("a", "healthy"), warned, Severity.CRITICAL) == ""
    assert wrong(Label("a", "healthy"), warned, Severity.WARNING) == "false alarm: the run is labelled healthy"
    assert wrong(Label("a", "nan"), warned, Severity.WARNING) == ""
    assert wrong(Label("a", "nan"), result("a", (5, Severity.INFO)), Severity.CRITICAL) == (
        "missed: the run is labelled nan"
    )
    assert wrong(Label("a", "plateau"), result("a"), Severity.WARNING) == ""
