"""Deadlines as people write them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timezone

import pytest

from monitor.cli.deadline_option import DEADLINE_MAX_S, parse_deadline

NOW_S = datetime(2026, 11, 18, 15, 34, tzinfo=timezone.utc).timestamp()


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("+36h", 36),
        ("+90m", 1.5),
        ("+2d", 48),
        ("+1.5d", 36),
        ("2026-11-19 15:34+00:00", 24),
        ("2026-11-18T17:34Z", 2),
        ("2026-11-18T17:34+0100", 1),
    ],
)
def test_a_deadline_is_so_many_hours_away(text: str, hours: float) -> None:
    assert parse_deadline(text, NOW_S) == NOW_S + hours * 3600


def test_a_time_without_a_zone_is_the_local_time_of_that_day() -> None:
    summer = datetime(2027, 7, 1, 16, 0, tzinfo=timezone.utc).timestamp()
    winter = datetime(2026, 11, 27, 17, 0, tzinfo=timezone.utc).timestamp()
    assert parse_deadline("2027-07-01 18:00", NOW_S) == summer
    assert parse_deadline("2026-11-27 18:00", NOW_S) == winter


@pytest.mark.parametrize("text", ["", "tomorrow", "+36", "36h", "+h", "-2h", "2026-13-01 10:00", "2026-11-27"])
def test_what_is_no_deadline_is_refused_with_the_rule(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_deadline(text, NOW_S)


@pytest.mark.parametrize(
    "text", ["+999999999999h", "+" + "9" * 400 + "d", "9999-12-31 23:59", "9999-12-31T23:59-23:59", "+3700d", "+٣h"]
)
def test_a_deadline_that_no_training_needs_is_refused_with_the_rule(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_deadline(text, NOW_S)


def test_ten_years_are_the_limit() -> None:
    assert parse_deadline("+3652d", NOW_S) == NOW_S + 3652 * 86_400.0
    with pytest.raises(ValueError, match="ten years"):
        parse_deadline(f"+{DEADLINE_MAX_S / 3600 + 1}h", NOW_S)


@pytest.mark.parametrize("text", ["2026-11-18 16:33", "+0h", "1999-01-01T00:00Z"])
def test_a_deadline_in_the_past_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="in the past"):
        parse_deadline(text, NOW_S)
