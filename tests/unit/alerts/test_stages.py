"""Alerts pass the stages in order; what is stopped says why."""

from __future__ import annotations

from alerts.alert import Alert
from alerts.stages import STAGES, Memory, Passage, Stopped, pipeline
from tests.harness.alerts import alert


def test_an_alert_that_is_stored_already_or_comes_twice_goes_once() -> None:
    first, again, stored = alert("a"), alert("a", text="again"), alert("b")
    passed = pipeline([first, again, stored], Memory(seen=frozenset({"b"})), 0.0)
    assert passed.going == (first,)
    assert passed.stopped == (Stopped(again, "duplicate"), Stopped(stored, "duplicate"))


def test_a_later_stage_sees_only_what_is_left() -> None:
    saw: list[str] = []

    def note(alerts: tuple[Alert, ...], memory: Memory, now_s: float) -> Passage:
        saw.extend(one.id for one in alerts)
        return Passage(alerts)

    pipeline([alert("a"), alert("a"), alert("c")], Memory(), 0.0, [*STAGES, note])
    assert saw == ["a", "c"]


def test_nothing_left_ends_the_row() -> None:
    def never(alerts: tuple[Alert, ...], memory: Memory, now_s: float) -> Passage:
        raise AssertionError("a stage without alerts has nothing to do")

    assert pipeline([alert("a")], Memory(seen={"a"}), 0.0, [*STAGES, never]).going == ()
