"""A person resumes a run that has ended or died with its machine: from which state, and where it is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from monitor.core.model import (
    Effect,
    GenerationDied,
    GenerationExited,
    PlanWritten,
    Verdict,
    WritePlan,
)
from monitor.core.policy.restarts import why_none
from monitor.core.policy.settings import Policy
from tests.harness.deaths import (
    FAILED,
    batches,
    die,
    ended,
    go_on,
    trained,
)
from tests.harness.simulation import supervised
from trainer_hooks.wire.messages import TrainingEnded
from trainer_hooks.wire.run_documents import Exit


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
