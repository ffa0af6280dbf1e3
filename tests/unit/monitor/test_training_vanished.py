"""The process of one training is killed while its run goes on; and what was counted and not seen."""

from __future__ import annotations

import msgspec

from monitor.core.model import GenerationExited, IncidentState, RunEnded, TrainingVanished
from monitor.core.state.status import training_status_of
from tests.harness.script import RUN, Script
from trainer_hooks.wire.messages import BatchEnded, TrainingEnded
from trainer_hooks.wire.run_documents import Exit, RunOutcome


def two() -> Script:
    script = Script()
    for number in (1, 2):
        script.start(number)
        script.batches(number, 30)
    return script


def vanish(script: Script, number: int, generation: int = 1) -> None:
    script.take(script.driver.feed(TrainingVanished(RUN, generation, number, 1000 + number)))


def test_a_training_whose_process_was_killed_is_over_and_raises_no_hang() -> None:
    script = two()
    vanish(script, 2)
    assert training_status_of(script.run, script[2]) == "vanished"
    assert "training 2 ended without a report: its process 1002 was killed" in script.said
    for _ in range(40):
        script.batches(1, 10)
        script.tick(30.0)
    assert script[2].incident is None
    assert "hang" not in script.said
    assert not script.alerts


def test_its_incident_is_closed_with_it_and_the_other_training_goes_on() -> None:
    script = two()
    script.batches(2, 4, bad=True)
    incident = script[2].incident
    assert incident is not None
    vanish(script, 2)
    assert incident.state is IncidentState.CLOSED
    assert script.run.trains(script[1])
    assert script.run.going_on is script[1]


def test_a_record_shows_that_it_lives_where_the_daemon_can_not_see_its_process() -> None:
    script = two()
    vanish(script, 2)
    script.batches(2, 1)
    assert script.run.trains(script[2])
    assert script[2].how == ""


def test_a_report_of_its_end_stands_and_another_generation_is_not_meant() -> None:
    script = two()
    vanish(script, 2, generation=7)
    assert script.run.trains(script[2])
    script.end(2)
    vanish(script, 2)
    assert script[2].how == "finished"


def test_batches_that_no_record_came_of_are_counted_and_said_at_the_end() -> None:
    script = two()
    counts = msgspec.structs.replace(script.counts[1, 0], batches=130, steps=130, nonfinite_batches=5)
    script.send(1, BatchEnded(script.driver.now_s, 1.0, 1, 129, 200, counts))
    script.end(1)
    script.take(script.driver.feed(RunEnded(RUN, RunOutcome.FINISHED, "exit code 0")))
    assert script[1].totals.batches_unseen == 99
    assert "5 non-finite of 160 batches in all; 99 batches not seen one by one, only counted" in script.said
    assert "the end of training 2 was not reported" in script.said


def test_a_crash_is_said_with_its_exception_and_one_that_the_script_outlived_is_not() -> None:
    script = two()
    script.send(1, TrainingEnded(script.driver.now_s, "exception", "KeyError: 'x', at a.py:1 in f", 1, {}))
    script.send(2, TrainingEnded(script.driver.now_s, "exception", "IndexError: 7, at b.py:2 in g", 1, {}))
    failed = GenerationExited(RUN, Exit(number=1, code=1, signal=None, ended_s=script.driver.now_s), relaunch=False)
    script.take(script.driver.feed(failed))
    assert "has failed (exit code 1), and is not started again" in script.said
    assert script.alerts[-1].text.startswith("IndexError: 7, at b.py:2 in g. ")
    script.take(script.driver.feed(RunEnded(RUN, RunOutcome.FAILED, "exit code 1: IndexError: 7, at b.py:2 in g")))
    assert script.said.count("IndexError") == 1, "the last line of the run names it"
    assert "run failed: exit code 1: IndexError: 7, at b.py:2 in g" in script.said
    outlived = two()
    outlived.send(1, TrainingEnded(outlived.driver.now_s, "exception", "KeyError: 'x', at a.py:1 in f", 1, {}))
    outlived.end(2)
    outlived.take(outlived.driver.feed(failed))
    assert "KeyError" not in outlived.said


def test_nothing_is_said_of_a_process_that_ends_because_its_generation_is_left() -> None:
    script = two()
    script[1].ledger.leaving = True
    vanish(script, 2)
    assert script[2].how == ""
    assert "ended without a report" not in script.said
