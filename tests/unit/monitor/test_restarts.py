"""What is decided when the process of a training dies: a new start from the newest clean state, or none, and why."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from monitor.core.model import (
    CheckpointExamined,
    CommandGiven,
    CommandKind,
    Effect,
    Family,
    GenerationDied,
    GenerationExited,
    IncidentState,
    PlanWritten,
    RunEnded,
    SupervisorChanged,
    Verdict,
    WritePlan,
)
from monitor.core.model.channel import RestartAnswer
from monitor.core.policy.restart_settings import Restart
from monitor.core.policy.restarts import answer_of, why_none
from monitor.core.policy.settings import Policy
from monitor.core.policy.trust import clean_ones
from monitor.core.summary import summary_of
from tests.harness.simulation import SUPERVISOR_PID, Simulation, supervised
from trainer_hooks.wire.messages import EpochEnded, PlanApplied, TrainingEnded
from trainer_hooks.wire.plan import Plan
from trainer_hooks.wire.run_documents import Exit, GenerationOutcome

KILLED, ABORTED, FAILED, UNKNOWN = (None, 9), (None, 6), (1, None), (None, None)
FULL = "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"


def batches(training: Simulation, count: int, *, loss: float = 2.0) -> None:
    for i in range(count):
        training.batch(loss + 0.01 * (i % 7), 3.0 + 0.02 * (i % 5))


def saved(training: Simulation, epoch: int, verdict: Verdict = Verdict.SOUND) -> None:
    training.checkpoint(f"g{training.generation}-e{epoch}", verdict, epoch=epoch)


def trained(done: int, more: int = 30, **options: Any) -> Simulation:
    """Epochs of 100 batches with a checkpoint at the end of each, and some batches of the next one."""
    training = supervised(**options)
    training.restart(1)
    for epoch in range(1, done + 1):
        batches(training, 100)
        training.send(EpochEnded(training.now_s, epoch, 10.0, (2.0,), {}, None))
        saved(training, epoch)
    batches(training, more)
    return training


def die(
    training: Simulation,
    how: tuple[int | None, int | None] = KILLED,
    crash: str = "",
    *,
    by: str = "",
    late_s: float = 0,
    detail: str = "it died",
) -> Plan | None:
    """Its process is gone, and the supervisor asks: the plan of the next generation. It then does what it was told."""
    if crash:
        training.send(TrainingEnded(training.now_s, "exception", crash, 3, {}))
    over = Exit(
        number=training.generation, code=how[0], signal=how[1], ended_s=training.now_s, outcome=GenerationOutcome.FAILED
    )
    until_s = training.now_s + 15
    training.now_s += late_s
    training.feed(GenerationDied("night", over, crash, until_s, by))
    plan = training.plans.get(f"plan-{training.generation + 1}.json")
    expected = RestartAnswer.PLAN if plan else RestartAnswer.NONE
    assert answer_of(training.run) == (RestartAnswer.UNKNOWN if late_s else expected)
    training.feed(GenerationExited("night", over, relaunch=plan is not None))
    if plan is None:
        training.feed(RunEnded("night", "failed", detail))
    return plan


def said(training: Simulation) -> str:
    return "\n".join(training.messages)


def go_on(training: Simulation, plan: Plan | None, count: int = 0) -> None:
    """The next generation starts from its plan, and trains."""
    assert plan is not None, training.messages
    training.in_force = plan.settings
    training.now_s += 60
    training.restart(plan.start_epoch, plan=plan.id)
    training.send(PlanApplied(training.now_s, plan.id, "first step", plan.start_epoch, {}, ()))
    batches(training, count)


@pytest.mark.parametrize("daemon_first", [True, False])
def test_a_run_that_died_with_the_machine_is_resumed_and_its_death_counted_once(daemon_first: bool) -> None:
    training = trained(2)
    over = Exit(number=1, code=None, signal=None, ended_s=training.now_s)
    if daemon_first:
        training.feed(GenerationExited("night", over, relaunch=False, with_machine=True))
    training.feed(GenerationDied("night", over, "", training.now_s + 15, "ada", with_machine=True))
    go_on(training, training.plans.get("plan-2.json"), 5)
    assert training.run.machine_deaths == 1
    assert training.incident.findings[-1].summary == (
        "the machine was started again, so the training died after epoch 3, batch 29; ada resumes it"
    )


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


def ended(training: Simulation) -> Simulation:
    assert die(training, (None, 15)) is None
    assert training.run.ended
    training.feed(SupervisorChanged("night", SUPERVISOR_PID + 1))
    return training


def test_a_person_resumes_a_run_that_has_ended() -> None:
    training = ended(trained(2))
    discarded = training.run.training.totals.batches_discarded
    training.now_s += 3600
    plan = die(training, (None, 15), by="ann")
    assert plan is not None
    assert (plan.generation, plan.start_epoch, plan.changes) == (2, 3, ())
    go_on(training, plan, 5)
    assert not training.run.ended
    assert training.run.training.totals.batches_discarded == discarded + 30
    assert "ann resumes it" in training.incident.findings[0].summary
    assert training.run.downtime_s == pytest.approx(3660, abs=5)


@pytest.mark.parametrize("options", [{"act": False}, {"policy": Policy(act=False)}])
def test_a_run_that_is_only_watched_is_resumed_too_where_a_person_asks(options: dict[str, Any]) -> None:
    assert die(ended(trained(2, **options)), by="ann") is not None


def test_a_person_can_resume_what_the_limits_gave_up() -> None:
    training = trained(2)
    go_on(training, die(training, FAILED, "ValueError: x"), 30)
    assert die(training, FAILED, "ValueError: x") is None
    plan = die(training, FAILED, "", by="ann")
    assert plan is not None
    assert (plan.generation, plan.start_epoch) == (3, 3)


def test_a_run_without_a_clean_state_is_not_resumed() -> None:
    training = ended(trained(0))
    assert die(training, by="ann") is None
    assert training.run.ledger.not_restarted == "there is no clean checkpoint"


@pytest.mark.parametrize(("torn", "epoch"), [((), 3), (("g1-e2",), 2), (("g1-e2", "g1-e1"), 0)])
def test_a_state_whose_file_is_torn_when_a_person_resumes_is_passed_over_for_the_one_below(
    torn: tuple[str, ...], epoch: int
) -> None:
    """It was sound when it was saved. Without a second look the run was held, each time it was resumed."""
    training = ended(trained(2))
    training.verdicts.update(dict.fromkeys(torn, Verdict.UNVERIFIED))
    plan = die(training, by="ann")
    assert (plan.start_epoch if plan else 0) == epoch
    assert training.run.ledger.not_restarted == ""
    assert ("there is no clean checkpoint" in why_none(training.run)) == (epoch == 0)


def test_the_batches_of_each_death_are_those_after_its_snapshot_also_in_a_life_that_began_within_the_epoch() -> None:
    """All of the epoch that the snapshot held was taken off, and the second death cost -30 batches."""
    training = trained(1, 40)
    for held, more, name in ((40, 30, "first"), (50, 5, "second"), (70, 0, "third")):  # another error each time
        training.checkpoint(name, epoch=1, extra_batches=held)
        batches(training, more)
        plan = die(training, FAILED, f"{name}: x")
        assert plan is not None
        assert plan.snapshot is not None
        assert plan.snapshot.extra_batches == held
        go_on(training, plan, 20 if held == 50 else 10)
    assert training.incident.totals.batches_discarded == 30 + 5 + 0


def test_a_generation_that_never_began_to_train_is_resumed_from_the_state_of_the_one_before() -> None:
    training = trained(2)
    plan = die(training)
    assert plan is not None
    training.counts = {}
    training.driver.start_generation()
    assert die(training, by="ann") is not None
    assert training.plans["plan-3.json"].start_epoch == 3


def test_where_the_plan_cannot_be_written_the_run_ends_and_it_is_said_why(monkeypatch: pytest.MonkeyPatch) -> None:
    training = trained(2)
    written = training._carry_out

    def full_disk(effect: Effect) -> None:
        if isinstance(effect, WritePlan):
            training.feed(PlanWritten("night", effect.plan.id, "No space left on device"))
        else:
            written(effect)

    monkeypatch.setattr(training, "_carry_out", full_disk)
    assert die(training) is None
    assert training.run.ledger.not_restarted == "the plan could not be written: No space left on device"
    assert len([line for line in training.messages if line.startswith("starting again from")]) == 1


def test_a_run_that_never_trained_a_batch_is_not_resumed() -> None:
    training = supervised()
    training.restart(1)
    assert die(training, by="ann") is None
    assert training.run.ledger.not_restarted == "it had not trained a single batch"


def test_a_script_that_fails_after_its_training_has_finished_has_nothing_to_resume() -> None:
    training = trained(2)
    training.send(TrainingEnded(training.now_s, "finished", "", 8, {}))
    assert die(training, FAILED, by="ann") is None
    assert training.run.ledger.not_restarted == "its training has finished"


def test_where_a_new_start_would_redo_more_than_it_saves_the_run_ends() -> None:
    """Nine folds are done, and one is left that is nearly done."""
    training = trained(2)
    others = [msgspec.structs.replace(training.run.training, number=n, over=True, how="finished") for n in range(2, 11)]
    training.run.trainings |= {other.number: other for other in others}
    assert die(training) is None
    assert "a new start would train" in next(alert for alert in training.alerts if alert.kind == "run_failed").text
