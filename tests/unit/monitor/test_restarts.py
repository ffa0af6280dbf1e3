"""What is decided when the process of a training dies: a new start from the newest clean state, or none, and why."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.core.model import (
    CheckpointExamined,
    CommandGiven,
    CommandKind,
    Family,
    GenerationDied,
    IncidentState,
    Verdict,
)
from monitor.core.model.channel import RestartAnswer
from monitor.core.policy.restart_settings import Restart
from monitor.core.policy.restarts import answer_of
from monitor.core.policy.settings import Policy
from monitor.core.policy.trust import clean_ones
from monitor.core.summary import summary_of
from tests.harness.deaths import (
    ABORTED,
    FAILED,
    FULL,
    KILLED,
    UNKNOWN,
    batches,
    die,
    go_on,
    said,
    saved,
    trained,
)
from tests.harness.simulation import supervised
from trainer_hooks.wire.messages import TrainingEnded
from trainer_hooks.wire.run_documents import Exit


@pytest.mark.parametrize(
    ("how", "crash", "what"),
    [
        (KILLED, "", "The training was ended by SIGKILL after epoch 3, batch 29"),
        (ABORTED, "", "The training was ended by SIGABRT"),
        ((137, None), "", "The training was ended by SIGKILL"),
        (
            FAILED,
            "RuntimeError: the link is down, at train.py:7",
            "The training crashed after epoch 3, batch 29: RuntimeE",
        ),
        (FAILED, FULL, "The memory of the GPU was full after epoch 3, batch 29"),
        (UNKNOWN, "", "exit code unknown"),
        ((1, None), "", "exit code 1"),
    ],
)
def test_a_training_that_dies_goes_on_from_its_newest_clean_state(
    how: tuple[int | None, int | None], crash: str, what: str
) -> None:
    training = trained(2)
    plan = die(training, how, crash)
    assert plan is not None
    assert plan.checkpoint is not None
    assert (plan.generation, plan.checkpoint.epoch, plan.start_epoch, plan.changes) == (2, 2, 3, ())
    assert training.orders == [], "nobody is there to get an order"
    go_on(training, plan, 5)
    incident = training.incident
    assert (incident.family, incident.state) == (Family.CRASH, IncidentState.WATCHING)
    summary = summary_of(training.run, training.run.training, incident, training.now_s)
    assert what in summary.happened
    assert "30 batches to train again and 1 min" in summary.cost
    assert [alert.kind for alert in training.alerts] == ["incident_opened", "rolled_back"]
    assert "generation 2 goes on from the end of epoch 2" in training.alerts[-1].title
    batches(training, 100)
    assert incident.state is IncidentState.RESOLVED
    assert training.run.training.ledger.rollbacks_used == 0, "the budget is for troubles of the training itself"


def test_a_crash_names_its_exception_once_and_again_where_the_run_ends_by_it() -> None:
    """The training prints its own traceback; the same exception in five lines of ours hides what they say."""
    training, crash = trained(2), "ValueError: a box of no size, at /home/ana/train.py:7 in step: boxes[3]"
    go_on(training, die(training, FAILED, crash), 5)
    opened = [line for line in training.messages if "ValueError" in line]
    assert len(opened) == 1
    assert "incident 1 opened: The training crashed after epoch 3, batch 29: ValueError: a box of no size" in opened[0]
    title = training.alerts[0].title
    assert title == "night: The training crashed after epoch 3, batch 29 (ValueError)"
    assert crash in training.alerts[0].text
    assert "What changed" not in training.alerts[0].text, "the exception explains it"
    die(training, FAILED, crash, detail=f"exit code 1: {crash}")
    last = [line for line in training.messages if "ValueError" in line][1:]
    assert len(last) == 2, last
    assert "closed with run: The training crashed after epoch 3, batch 29 (ValueError)." in last[0]
    assert crash not in last[0]
    assert last[1].startswith(f"run failed: exit code 1: {crash}; ")
    failed = next(alert for alert in training.alerts if alert.kind == "run_failed")
    assert (failed.title, failed.text.count(crash)) == ("night: training failed (exit code 1)", 1)
    closed = training.alerts[-1]
    assert (closed.kind, closed.text.count(crash)) == ("closed", 1), "what happened, not how it ended as well"


def test_a_state_that_was_saved_just_before_is_taken_without_waiting_for_healthy_batches() -> None:
    training = trained(2, more=3)
    assert [c.epoch for c in clean_ones(training.run.training, training.policy.rollback)] == [1]
    plan = die(training)
    assert plan is not None
    assert plan.start_epoch == 3


def test_a_checkpoint_that_is_still_being_examined_is_waited_for() -> None:
    training = trained(1, more=100)
    training.checkpoint("slow", epoch=2)
    checkpoint = training.run.training.checkpoints[-1]
    checkpoint.verdict = Verdict.WAITING
    training.manifests.pop("slow")
    over = Exit(number=1, code=None, signal=9, ended_s=training.now_s)
    training.feed(GenerationDied("night", over, "", training.now_s + 15))
    assert answer_of(training.run) == RestartAnswer.WAIT


def test_each_new_start_after_a_crash_keeps_the_script_s_own_settings() -> None:
    """The second one set the plan's in their place, and the training was not the uninterrupted one any more."""
    training = trained(2)
    first = die(training)
    go_on(training, first, 40)
    second = die(training)
    assert first is not None
    assert second is not None
    assert (first.own_settings, second.own_settings) == (True, True)


def test_after_a_second_death_the_newest_state_is_waited_for_as_after_the_first() -> None:
    """A snapshot of the second life was passed over while it was being examined, and the life was done again."""
    training = trained(2)
    go_on(training, die(training), 40)
    training.checkpoint("slow", epoch=2, extra_batches=40)
    slow = training.run.training.checkpoints[-1]
    slow.verdict = Verdict.WAITING
    manifest = training.manifests.pop("slow")
    batches(training, 5)
    over = Exit(number=2, code=None, signal=9, ended_s=training.now_s)
    training.feed(GenerationDied("night", over, "", training.now_s + 15))
    assert answer_of(training.run) == RestartAnswer.WAIT
    training.manifests["slow"] = manifest
    training.feed(CheckpointExamined("night", manifest, "/vault/slow", Verdict.SOUND, ("sound",), 0.1, "slow.json"))
    plan = training.plans["plan-3.json"]
    assert plan.snapshot is not None
    assert plan.snapshot.extra_batches == 40


@pytest.mark.parametrize(
    ("how", "crash", "options", "epochs", "why"),
    [
        ((None, 15), "", {}, 2, "as if somebody had asked for it (ended by SIGTERM)"),
        ((None, 2), "", {}, 2, "as if somebody had asked for it (ended by SIGINT)"),
        ((130, None), "", {}, 2, "as if somebody had asked for it (exit code 130)"),
        (KILLED, "", {"act": False}, 2, "this run was started to be observed only"),
        (KILLED, "", {"policy": Policy(act=False)}, 2, "the policy says act: false"),
        (KILLED, "", {"policy": Policy(restart=Restart(after_crash=False))}, 2, "restart.after_crash: false"),
        (KILLED, "", {"supervisor_pid": 0}, 2, "the supervisor of this run is gone"),
        (KILLED, "", {"policy": Policy(restart=Restart(batches_min=500))}, 2, "within its first 500 batches"),
        (KILLED, "", {}, 0, "there is no clean checkpoint"),
    ],
)
def test_where_it_is_not_started_again_it_is_said_why(
    how: tuple[int | None, int | None], crash: str, options: dict[str, Any], epochs: int, why: str
) -> None:
    training = trained(epochs, **options)
    assert die(training, how, crash) is None
    assert why in next(line for line in training.messages if "is not started again" in line)
    failed = next(alert for alert in training.alerts if alert.kind == "run_failed")
    assert why in failed.text
    assert ("go on from the end of epoch 2 with: trainwarden resume night" in failed.text) == (epochs == 2)
    assert training.run.training.ledger.incidents == []


@pytest.mark.parametrize("how", ["finished", "exited", "interrupted"])
def test_a_script_that_ended_its_training_by_itself_is_not_started_again(how: str) -> None:
    training = trained(2)
    training.send(TrainingEnded(training.now_s, how, "", 3, {}))
    assert die(training, FAILED) is None


def test_a_crash_within_the_first_batches_is_a_mistake_in_the_script() -> None:
    training = supervised()
    training.restart(1)
    batches(training, 19)
    saved(training, 1)
    assert die(training, FAILED, "KeyError: 'x'") is None
    assert "it died within its first 20 batches" in said(training)


def test_a_stop_that_a_person_asked_for_is_no_crash() -> None:
    training = trained(2)
    training.feed(CommandGiven("night", CommandKind.STOP, "ann"))
    assert die(training) is None


def test_a_supervisor_that_waits_no_longer_gets_no_plan() -> None:
    training = trained(2)
    assert die(training, late_s=16) is None
    assert training.plans == {}


def test_a_fault_of_the_script_that_comes_again_at_the_same_batch_ends_the_run() -> None:
    training = trained(2)
    go_on(training, die(training, FAILED, "ValueError: bad box, at data.py:3"), 30)
    assert die(training, FAILED, "ValueError: another message") is None
    assert "the same way after the last new start, and had not come further" in said(training)


def test_it_is_tried_three_times_from_the_same_state_and_again_from_a_newer_one() -> None:
    training = trained(2)
    for further in (32, 34, 36):
        go_on(training, die(training), further)
    assert training.run.training.ledger.restarts.count == 3
    batches(training, 64)
    saved(training, 3)
    batches(training, 40)
    plan = die(training)
    go_on(training, plan, 42)
    assert plan is not None
    assert plan.start_epoch == 4
    for further in (44, 46):
        go_on(training, die(training), further)
    assert die(training) is None
    assert "it died again after 3 new starts from the same state" in said(training)


def test_another_way_to_die_is_another_try_but_not_for_ever() -> None:
    training = trained(2)
    for crash in ("AError: x", "BError: x", "CError: x"):
        go_on(training, die(training, FAILED, crash), 1)
    assert die(training, FAILED, "DError: x") is None


def test_a_full_gpu_is_tried_once_and_the_batch_size_is_named() -> None:
    training = trained(2)
    go_on(training, die(training, FAILED, FULL), 35)
    summary = summary_of(training.run, training.run.training, training.incident, training.now_s)
    assert "batch size" in summary.cause
    assert "batch size" in summary.to_do
    assert die(training, FAILED, FULL) is None
    assert "a smaller batch size is the cure" in next(a for a in training.alerts if a.kind == "run_failed").text


def test_a_new_start_that_dies_before_it_trains_is_tried_again() -> None:
    training = trained(2)
    plan = die(training)
    assert plan is not None
    training.restart(plan.start_epoch, plan=plan.id)
    second = die(training, FAILED, "OSError: the disk is away")
    assert second is not None
    assert (second.generation, second.start_epoch) == (3, 3)
    go_on(training, second, 5)
    assert len(training.run.training.ledger.incidents) == 1
    assert training.incident.totals.attempts == 2


def test_a_live_incident_is_closed_and_nothing_saved_since_its_onset_is_gone_back_to() -> None:
    training = trained(2)
    for _ in range(7):
        training.batch(float("nan"), float("nan"))
        batches(training, 3)
    assert training.incident.family == Family.NONFINITE
    batches(training, 42)
    saved(training, 3)
    batches(training, 10)
    training.pending = None
    plan = die(training)
    assert plan is not None
    assert plan.start_epoch == 3, "the checkpoint of epoch 3 was saved after the onset"
    assert [i.family for i in training.run.training.ledger.incidents] == ["nonfinite", "crash"]
    assert training.incident.state is IncidentState.CLOSED


def test_a_rollback_whose_plan_is_made_is_not_made_twice() -> None:
    training = trained(2)
    training.feed(CommandGiven("night", CommandKind.ROLLBACK, "ann"))
    assert list(training.plans) == ["plan-2.json"]
    made = training.plans["plan-2.json"]
    assert die(training) == made


def test_what_goes_wrong_after_the_new_start_is_an_incident_of_its_own() -> None:
    training = trained(2)
    go_on(training, die(training), 30)
    for _ in range(20):
        training.batch(float("nan"), float("nan"))
    first, second = training.run.training.ledger.incidents
    assert (first.state, second.family) == (IncidentState.RESOLVED, Family.NONFINITE)
    assert training.run.training.ledger.restarts.count == 1


def test_what_is_saved_after_the_new_start_is_trusted_like_anything_else() -> None:
    training = trained(2, epochs=80)
    go_on(training, die(training), 100)
    saved(training, 3)
    batches(training, 25)
    assert training.incident.live
    assert clean_ones(training.run.training, training.policy.rollback)[0].epoch == 3


def test_the_same_question_twice_makes_one_plan() -> None:
    training = trained(2)
    over = Exit(number=1, code=None, signal=9, ended_s=training.now_s)
    for _ in range(2):
        training.feed(GenerationDied("night", over, "", training.now_s + 15))
    assert len([line for line in training.messages if line.startswith("starting again from")]) == 1
