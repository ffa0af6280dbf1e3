"""Rows pass the stages in order; what waits says until when, and what is stopped says why."""

from __future__ import annotations

import msgspec
import pytest

from alerts.digest import DIGEST, LINES_MAX, digest_of
from alerts.outbox import EXPIRES_S, OutboxRow
from alerts.rules import QuietHours, Route, Rules, Silence
from alerts.stages import (
    FOR_PROGRAMS,
    GROUP_S,
    HOUR_S,
    STAGES,
    Memory,
    Passage,
    Sending,
    Stopped,
    deduplicate,
    limit_rate,
    pipeline,
    silence,
)
from tests.harness.alerts import alert

NOON_S = 1_763_467_200.0  # 2025-11-18 12:00 UTC


def row(
    alert_id: str,
    *,
    number: int = 1,
    severity: str = "critical",
    name: str = "incident_opened",
    thread: str = "",
    over: bool = False,
    at_s: float = NOON_S,
) -> OutboxRow:
    """A row of run "r" that waits for one receiver since `at_s`."""
    told = msgspec.structs.replace(
        alert(alert_id), severity=severity, name=name, thread=thread, ended_s=at_s if over else None
    )
    return OutboxRow(
        id=number, receiver="phone", lane="r", alert=told, attempts=0, created_s=at_s, next_s=at_s
    )  # fmt: skip


def sent(
    count: int, *, severity: str = "info", at_s: float = NOON_S, name: str = "x", thread: str = ""
) -> tuple[Sending, ...]:
    return tuple(Sending("phone", at_s + number, severity, "r", name, thread) for number in range(count))


def test_an_alert_that_is_stored_already_or_comes_twice_goes_once() -> None:
    first, again, stored = row("a"), row("a"), row("b")
    passed = pipeline([first, again, stored], Memory(seen=frozenset({"b"})), 0.0, [deduplicate])
    assert passed.going == (first,)
    assert passed.stopped == (Stopped(again, "duplicate"), Stopped(stored, "duplicate"))


def test_a_later_stage_sees_only_what_is_left() -> None:
    saw: list[str] = []

    def note(rows: tuple[OutboxRow, ...], memory: Memory, now_s: float) -> Passage:
        saw.extend(one.alert.id for one in rows)
        return Passage(rows)

    pipeline([row("a"), row("a"), row("c")], Memory(), 0.0, [*STAGES, note])
    assert saw == ["a", "c"]


def test_nothing_left_ends_the_row() -> None:
    def never(rows: tuple[OutboxRow, ...], memory: Memory, now_s: float) -> Passage:
        raise AssertionError("a stage without rows has nothing to do")

    assert pipeline([row("a")], Memory(seen={"a"}), 0.0, [*STAGES, never]).going == ()


def test_a_silence_holds_what_matches_until_its_end_and_then_lets_it_go() -> None:
    """What outlasts a silence is news; what ended within it is none."""
    quiet = Silence("s1", ("run=r*", "severity=critical|warning"), NOON_S - 10, NOON_S + 100)
    memory = Memory(silences=(quiet,))
    opened = row("i1/opened", thread="i1")
    assert pipeline([opened], memory, NOON_S).held[0].until_s == NOON_S + 100
    assert pipeline([opened], memory, NOON_S + 100).going == (opened,)
    other = row("x", severity="info")
    assert pipeline([other], memory, NOON_S).going == (other,)


def test_what_began_and_ended_within_a_silence_is_never_sent() -> None:
    memory = Memory(silences=(Silence("s1", (), NOON_S - 10, NOON_S + 100),))
    rows = [row("i1/opened", number=1, thread="i1"), row("i1/over", number=2, thread="i1", over=True)]
    passed = pipeline(rows, memory, NOON_S + 5)
    assert [stopped.reason for stopped in passed.stopped] == ["silenced", "silenced"]


def test_the_end_of_an_incident_that_was_heard_of_is_sent_after_the_silence() -> None:
    """Else it would stay open on the phone for ever."""
    memory = Memory(silences=(Silence("s1", (), NOON_S - 10, NOON_S + 100),), sent=sent(1, thread="i1"))
    rows = [row("i1/back", number=1, thread="i1"), row("i1/over", number=2, thread="i1", over=True)]
    assert [held.row.id for held in pipeline(rows, memory, NOON_S + 5).held] == [1, 2]
    assert len(pipeline(rows, memory, NOON_S + 100).going) == 2


def test_a_silence_longer_than_an_alert_lives_drops_it() -> None:
    memory = Memory(silences=(Silence("s1", (), NOON_S, NOON_S + EXPIRES_S + 1),))
    assert silence((row("a"),), memory, NOON_S).stopped[0].reason == "silenced"


def test_an_acknowledged_incident_sends_no_reminders_and_only_its_severe_news_and_its_end() -> None:
    memory = Memory(acknowledged={"i1"})
    rows = [
        row("r", number=1, thread="i1", name="reminder"),
        row("w", number=2, thread="i1", name="adjusted", severity="warning"),
        row("c", number=3, thread="i1", name="given_up"),
        row("e", number=4, thread="i1", name="resolved", severity="info", over=True),
    ]
    passed = pipeline(rows, memory, NOON_S)
    assert [one.id for one in passed.going] == [3, 4]
    assert {stopped.reason for stopped in passed.stopped} == {"acknowledged"}


def test_a_warning_beside_an_open_incident_of_its_run_is_inhibited() -> None:
    """One of another family is news: a training that recovers from NaN may hang."""
    rows = [row("w", name="watch", severity="warning")]
    rows[0].alert.labels["family"] = "nonfinite"
    assert pipeline(rows, Memory(troubled={("r", "nonfinite")}), NOON_S).stopped[0].reason == "inhibited"
    for other in (("r", "hang"), ("s", "nonfinite")):
        assert pipeline(rows, Memory(troubled={other}), NOON_S).going == tuple(rows)


def test_a_warning_of_the_batch_that_opened_an_incident_is_inhibited_though_that_is_over_by_now() -> None:
    """One batch may open an incident and end it by giving up: a third message would say that nothing is done."""
    warning = row("w", name="watch", severity="warning")
    opened = row("o", number=2, thread="r-i1")
    for one in (warning, opened):
        one.alert.labels["family"] = "nonfinite"
    assert pipeline([warning, opened], Memory(), NOON_S).stopped == (Stopped(warning, "inhibited"),)
    later = row("l", name="watch", severity="warning", at_s=NOON_S + 1)
    later.alert.labels["family"] = "nonfinite"
    assert later in pipeline([later, opened], Memory(), NOON_S + 1).going


@pytest.mark.parametrize(("hour", "left_h"), [(21, 0.0), (22, 9.0), (23, 8.0), (0, 7.0), (6, 1.0), (7, 0.0), (12, 0.0)])
def test_quiet_hours_hold_what_is_not_severe_until_their_end(hour: int, left_h: float) -> None:
    rules = {"r": Rules(quiet=QuietHours(22 * HOUR_S, 7 * HOUR_S))}
    now_s = NOON_S + (hour - 12 - 2) * HOUR_S  # the local clock is two hours ahead
    memory = Memory(rules=rules, utc_offset_s=2 * HOUR_S)
    small, severe = row("w", severity="warning"), row("c", number=2)
    passed = pipeline([small, severe], memory, now_s)
    assert severe in passed.going
    assert [held.until_s - now_s for held in passed.held] == ([left_h * HOUR_S] if left_h else [])


def test_a_receiver_gets_so_many_in_an_hour_and_critical_ones_are_counted_apart() -> None:
    memory = Memory(rules={"r": Rules(per_hour=2)}, sent=sent(2))
    small, severe = row("w", severity="warning"), row("c", number=2)
    passed = pipeline([small, severe], memory, NOON_S + 60)
    assert passed.going == (severe,)
    assert passed.held[0].until_s == NOON_S + HOUR_S
    assert pipeline([small], memory, NOON_S + HOUR_S).going == (small,)


def test_what_waited_for_the_limit_counts_as_one_message() -> None:
    """Else a storm would trickle for hours: it comes as one digest when the hour is over."""
    rows = [row(f"w{n}", number=n, severity="warning", thread=f"t{n}") for n in range(1, 40)]
    memory = Memory(rules={"r": Rules(per_hour=2)}, sent=sent(2), waited={one.id for one in rows[:-1]})
    assert pipeline(rows, memory, NOON_S + 60).going == ()
    later = pipeline(rows, memory, NOON_S + HOUR_S, [limit_rate])
    assert later.going == tuple(rows[:-1])
    assert later.held[0].row == rows[-1]


def test_many_trainings_that_fail_together_make_two_messages() -> None:
    """The first at once, and the others with it a minute later."""
    rows = [row(f"i{n}", number=n, thread=f"i{n}") for n in range(1, 9)]
    first = pipeline(rows, Memory(), NOON_S)
    assert [one.id for one in first.going] == [1]
    assert {held.until_s for held in first.held} == {NOON_S + GROUP_S}
    memory = Memory(sent=(Sending("phone", NOON_S, "critical", "r", "incident_opened", "i1"),))
    later = pipeline(rows[1:], memory, NOON_S + GROUP_S)
    assert len(later.going) + len(later.held) == 7
    assert later.going


def test_a_program_gets_every_alert_at_once() -> None:
    memory = Memory(rules={"r": Rules(QuietHours(0.0, HOUR_S * 23.9), per_hour=1)}, sent=sent(5))
    rows = [row(f"a{n}", number=n, severity="info", thread=f"t{n}") for n in range(9)]
    assert len(pipeline(rows, memory, NOON_S, FOR_PROGRAMS).going) == 9


def test_a_digest_names_what_waited_up_to_a_limit_and_has_a_stable_id() -> None:
    alerts = [row(f"a{n}", severity="warning" if n else "critical").alert for n in range(LINES_MAX + 3)]
    digest = digest_of(alerts)
    assert (digest.id, digest.name, digest.severity) == (f"a0/{DIGEST}", DIGEST, "critical")
    assert digest.title == f"{LINES_MAX + 3} messages that waited"
    assert digest.text.count("\n- ") + 1 == LINES_MAX
    assert "and 3 more" in digest.text


def test_a_digest_of_one_thread_stays_in_it() -> None:
    digest = digest_of([row("a", thread="i1").alert, row("b", thread="i1", over=True).alert])
    assert digest.thread == "i1"
    assert digest.ended_s is not None


@pytest.mark.parametrize(
    ("severity", "family", "wanted"),
    [
        ("critical", "nonfinite", ("phone", "log")),
        ("warning", "nonfinite", ("log",)),
        ("info", "hang", ("phone", "mail", "log")),
    ],
)
def test_every_route_that_matches_adds_its_receivers_and_an_alert_without_one_goes_to_all(
    severity: str, family: str, wanted: tuple[str, ...]
) -> None:
    rules = Rules(
        routes=(
            Route(("severity=critical", "family=nonfinite|loss"), ("phone",)),
            Route(("family=nonf*",), ("log",)),
        )
    )
    told = msgspec.structs.replace(alert("a"), severity=severity, labels={"run": "r", "family": family})
    assert rules.receivers_of(told, ("phone", "mail", "log")) == wanted


def test_a_receiver_gets_what_is_as_severe_as_it_asked_for() -> None:
    rules = Rules(least={"phone": "critical"})
    warning = msgspec.structs.replace(alert("a"), severity="warning")
    assert rules.receivers_of(warning, ("phone", "log")) == ("log",)
