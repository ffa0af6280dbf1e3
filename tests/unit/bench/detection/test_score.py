"""Figures of the bench, from outcomes written by hand."""

from __future__ import annotations

import pytest

from tests.bench.detection.aims import aims
from tests.bench.detection.contenders import Alarm, AlarmLevel
from tests.bench.detection.play import Outcome, TimedAlarm
from tests.bench.detection.score import by_family, cells, false_alarms, poisson_bound, recall
from tests.bench.detection.streams import Case


def case(family: str = "data", *, onset: int | None = 100, **more: object) -> Case:
    benign = family == "benign"
    return Case(family, "f", "low", "1 batch", onset is not None, benign, onset, (), **more)  # type: ignore[arg-type]


def alarm(
    batch: int, level: AlarmLevel = AlarmLevel.WARNING, *, families: tuple[str, ...] = (), waited_s: float = 0.0
) -> TimedAlarm:
    return TimedAlarm(Alarm(level, "d", families, 0, "text"), batch, waited_s)


def outcome(played: Case, *alarms: TimedAlarm, batches: int = 300) -> Outcome:
    return Outcome(played, "trainwarden default", tuple(AlarmLevel), list(alarms), [], batches)


@pytest.mark.parametrize(("events", "bound"), [(0, 2.996), (1, 4.744), (10, 16.962), (500, 538.36)])
def test_the_upper_bound_is_the_exact_one_of_poisson(events: int, bound: float) -> None:
    """Chi-squared quantiles from a table: half of chi2(0.95, 2 n + 2)."""
    assert poisson_bound(events) == pytest.approx(bound, rel=1e-3)


def test_delays_are_counted_from_the_onset_and_an_alarm_before_it_finds_nothing() -> None:
    outcomes = [outcome(case(), alarm(40), alarm(100)), outcome(case(), alarm(103)), outcome(case(), alarm(99))]
    found = recall(outcomes, AlarmLevel.WARNING)
    assert (found.cases, found.found, found.within) == (3, 2, (1, 1, 2, 2, 2))
    assert (found.delay_median, found.delay_p95) == (1.5, 3.0)


def test_an_alarm_below_the_level_finds_nothing() -> None:
    assert recall([outcome(case(), alarm(100, AlarmLevel.INFO))], AlarmLevel.WARNING).found == 0
    assert recall([outcome(case(), alarm(100, AlarmLevel.CRITICAL))], AlarmLevel.WARNING).found == 1


def test_the_lead_is_counted_to_the_peak() -> None:
    told = case(peak=104)
    assert recall([outcome(told, alarm(101))], AlarmLevel.WARNING).lead_median == 3.0


def test_a_hang_is_found_in_time_by_its_seconds_of_silence() -> None:
    told = case("hang", limit_s=30.0)
    early, late = outcome(told, alarm(100, waited_s=29.0)), outcome(told, alarm(100, waited_s=31.0))
    found = recall([early, late], AlarmLevel.WARNING)
    assert (found.found, found.within) == (2, (1, 1, 1, 1, 1))
    assert found.delay_median == 30.0


def test_a_named_family_is_right_or_wrong_and_no_name_is_an_abstention() -> None:
    told = case()
    named = (("data",), ("memory",), ())
    found = recall([outcome(told, alarm(100, families=families)) for families in named], AlarmLevel.WARNING)
    assert (found.right, found.wrong, found.abstained) == (1, 1, 1)


def test_a_case_may_have_another_family_as_its_cause() -> None:
    told = case("telemetry", cause="numerical")
    assert recall([outcome(told, alarm(100, families=("numerical",)))], AlarmLevel.WARNING).right == 1


def test_false_alarms_are_counted_in_healthy_batches_alone_and_look_alikes_apart() -> None:
    healthy = outcome(case("healthy", onset=None), alarm(5), alarm(200), batches=1000)
    faulty = outcome(case(onset=100), alarm(50), alarm(150))
    benign = outcome(case("benign", onset=None), alarm(7, AlarmLevel.INFO), batches=500)
    rows = {(row.among, row.level): row for row in false_alarms([healthy, faulty, benign])}
    told = rows["healthy", "warning"]
    assert (told.batches, told.alarms) == (1100, 3)
    assert told.per_million == pytest.approx(3e6 / 1100)
    assert (rows["benign", "warning"].alarms, rows["benign", "info"].alarms) == (0, 1)
    assert rows["healthy", "critical"].alarms == 0


def test_cases_are_grouped_by_what_was_done_or_by_family() -> None:
    outcomes = [outcome(case("data"), alarm(100)), outcome(case("memory"))]
    assert [(c.family, c.fault, c.recall.found) for c in cells(outcomes) if c.level == "warning"] == [
        ("data", "f", 1),
        ("memory", "f", 0),
    ]
    whole = [c for c in cells(outcomes, by_family) if c.level == "warning"]
    assert [(c.family, c.fault) for c in whole] == [("data", ""), ("memory", "")]


def test_an_aim_is_missed_by_one_case_and_not_decided_by_too_few_batches() -> None:
    hang = case("hang", limit_s=30.0)
    outcomes = [outcome(hang, alarm(100, waited_s=31.0)), outcome(case("healthy", onset=None), batches=1000)]
    met = {aim.aim: aim.met for aim in aims(outcomes, false_alarms(outcomes), faulty_batches=1)}
    assert met["hangs warned of within max(30 s, 5 intervals) of silence"] is False
    assert met["trainwarden default: no critical false alarm in healthy trainings of 300,000 batches"] is None
