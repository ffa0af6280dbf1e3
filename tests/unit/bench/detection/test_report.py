"""The tables: every row has the columns of its head, and what failed to run stands first."""

from __future__ import annotations

from tests.bench.detection.contenders import Alarm, AlarmLevel
from tests.bench.detection.play import Outcome, TimedAlarm
from tests.bench.detection.report import document, markdown
from tests.bench.detection.streams import Case

CONTENDERS = {"trainwarden default": tuple(AlarmLevel), "a published rule": (AlarmLevel.WARNING,)}


def case(family: str, fault: str, onset: int | None) -> Case:
    level, lasts = ("high", "1 batch") if onset is not None else ("", "")
    return Case(family, fault, level, lasts, onset is not None, family == "benign", onset, ())


def told() -> str:
    seen = TimedAlarm(Alarm(AlarmLevel.WARNING, "loss_spike", (), 0, "a jump | of the loss"), 12, 0.0)
    cases = (case("data", "bad | batch", 10), case("healthy", "plain", None), case("benign", "pause", None))
    outcomes = [Outcome(c, who, levels, [seen], [], 100) for c in cases for who, levels in CONTENDERS.items()]
    sources = {"trainwarden default": "this project", "a published rule": "its paper"}
    return markdown(document("7", outcomes, 1, sources, ["a training that did not start"]))


def test_every_row_has_as_many_columns_as_its_table() -> None:
    widths: list[int] = []
    for line in told().splitlines():
        if not line.startswith("|"):
            widths = []
            continue
        widths.append(line.count("|"))
        assert widths[0] == widths[-1], line
    assert "| data | bad / batch | high | 1 batch | 1 | 1 after 2 | 1 after 2 | 0 | loss_spike |" in told()


def test_a_published_rule_has_one_level_and_its_source_is_named() -> None:
    assert [line.split("|")[2].strip() for line in told().splitlines() if line.startswith("| a published rule |")] == [
        "warning",
        "warning",
    ]
    assert "- a published rule: its paper" in told()


def test_what_failed_to_run_is_listed_in_the_heading() -> None:
    assert "- failed to run: a training that did not start" in told().split("| aim |")[0]


def test_false_alarms_are_quoted() -> None:
    assert "- plain (), batch 12: a jump | of the loss" in told()
