"""Steps are told to everybody at the same time, and time passes between them as it does for the daemon."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from monitor.core.policy.settings import Policy
from tests.bench.detection.contenders import AlarmLevel, PublishedRule, Trainwarden
from tests.bench.detection.fault import Beginning
from tests.bench.detection.kinds import YOLO
from tests.bench.detection.play import Outcome, Stage
from tests.bench.detection.streams import Arrived, Case, ClockSet, DaemonRestarted, Silence, Step
from trainer_hooks.wire.messages import BatchEnded, Counts, Event, PhaseChanged

CASE = Case("healthy", "", "", "", faulty=False, benign=False, onset=None, steps=())


class EveryThird:
    """A rule that alarms on every third batch, and after five seconds of silence."""

    name, source = "every third", "this test"

    def __init__(self) -> None:
        self.batches, self.asked = 0, 0

    def on_batch(self, batch: BatchEnded) -> bool:
        self.batches += 1
        return self.batches % 3 == 0

    def on_event(self, event: Event) -> bool:
        return isinstance(event, PhaseChanged)

    def on_silence(self, waited_s: float) -> bool:
        self.asked += 1
        return waited_s >= 5.0


class Broken(EveryThird):
    """A rule with a defect."""

    name = "broken"

    def on_batch(self, batch: BatchEnded) -> bool:
        raise ZeroDivisionError("no spread")


def batch(number: int, loss: float = 1.0) -> BatchEnded:
    return BatchEnded(0.0, 0.0, 1, number, 1000, Counts(batches=number + 1), loss=loss)


def batches(count: int, every_s: float = 0.1) -> list[Step]:
    return [Arrived(every_s * n, batch(n)) for n in range(count)]


def played(rule: PublishedRule, steps: Iterable[Step]) -> Outcome:
    stage = Stage([rule])
    stage.play(steps)
    return stage.outcomes(CASE)[0]


def told(outcomes: Sequence[Outcome]) -> list[tuple[str, list[tuple[int, str, str]]]]:
    return [(o.contender, [(h.batch, h.alarm.source, h.alarm.text) for h in o.alarms]) for o in outcomes]


def nan_among_healthy(restarts: bool) -> list[Step]:
    opening = Beginning(YOLO, 1, 300, "seed")
    steps = list(opening.steps())
    trainer, (source,) = opening.stand("more")
    for at in range(300, 420):
        one = source.batch(at)
        if at in (310, 320, 330):
            one.loss = one.norm = math.nan
        steps.append(trainer.ended(one))
        if restarts and at % 7 == 0:
            steps.append(DaemonRestarted(trainer.now_s))
    return steps


def test_alarms_that_follow_each_other_are_one_until_they_pause_for_a_spell() -> None:
    assert [h.batch for h in played(PublishedRule(EveryThird), batches(1000)).alarms] == [2]


def test_an_alarm_on_an_event_belongs_to_the_batch_that_comes_next() -> None:
    steps = [*batches(2), Arrived(0.2, PhaseChanged(0.0, 1, "save"))]
    assert [h.batch for h in played(PublishedRule(EveryThird), steps).alarms] == [2]


def test_silence_is_asked_about_once_a_second() -> None:
    heard = played(PublishedRule(EveryThird), [*batches(2), Silence(0.1, 60.0)]).alarms
    assert [(h.batch, h.waited_s) for h in heard] == [(2, 5.9)], "0.1 s to the record, and ticks on whole seconds"


def test_a_gap_between_records_is_a_silence_too_and_a_clock_that_is_set_is_none() -> None:
    late = Arrived(60.0, batch(2))
    assert played(PublishedRule(EveryThird), [*batches(2), late]).alarms[0].batch == 2
    slept = played(PublishedRule(EveryThird), [*batches(2), ClockSet(60.0), late])
    assert [h.batch for h in slept.alarms] == [2]
    assert slept.alarms[0].waited_s == 0.0, "it alarms on the third batch, not on the sleep"


def test_a_rule_that_raises_is_switched_off_and_told_and_the_others_go_on() -> None:
    stage = Stage([PublishedRule(Broken), PublishedRule(EveryThird)])
    stage.play(batches(10))
    broken, sound = stage.outcomes(CASE)
    assert broken.defects == ["broken raised ZeroDivisionError: no spread; it is switched off for this case"]
    assert (len(sound.alarms), sound.batches) == (1, 10)


def test_a_stage_that_goes_on_elsewhere_leaves_the_first_as_it_was() -> None:
    steps = nan_among_healthy(restarts=False)
    stage = Stage([Trainwarden("default", Policy()), PublishedRule(EveryThird)])
    stage.play(steps[:302])
    fork = stage.fork()
    fork.play(steps[302:])
    forked = told(fork.outcomes(CASE))
    stage.play(steps[302:])
    whole = Stage([Trainwarden("default", Policy()), PublishedRule(EveryThird)])
    whole.play(steps)
    warden = [h for h in told(whole.outcomes(CASE))[0][1] if h[0] >= 300]
    assert warden
    assert forked[0][1] == warden == told(stage.outcomes(CASE))[0][1]


def test_one_nan_is_seen_on_its_batch_and_the_third_is_acted_upon() -> None:
    stage = Stage([Trainwarden("default", Policy())])
    stage.play(nan_among_healthy(restarts=False))
    (outcome,) = stage.outcomes(CASE)
    assert list(dict.fromkeys(h.batch for h in outcome.alarms)) == [310, 320, 330]
    assert [h.batch for h in outcome.alarms if h.alarm.level is AlarmLevel.CRITICAL] == [330]
    assert all(h.alarm.families == ("numerical",) for h in outcome.alarms)
    assert not outcome.defects


def test_a_daemon_that_is_started_again_hears_the_same() -> None:
    with_restarts, without = Stage([Trainwarden("default", Policy())]), Stage([Trainwarden("default", Policy())])
    with_restarts.play(nan_among_healthy(restarts=True))
    without.play(nan_among_healthy(restarts=False))
    assert told(with_restarts.outcomes(CASE)) == told(without.outcomes(CASE))
