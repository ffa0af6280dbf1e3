"""A new start of ours that trains no batch: started again, three times in all, whatever the first rollback was for."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.core.model import GenerationExited, IncidentState
from monitor.core.policy.settings import Policy
from monitor.core.policy.table_settings import DecisionTable, WhenClean
from tests.harness.simulation import Simulation, supervised
from trainer_hooks.wire.messages import StacksSeen
from trainer_hooks.wire.plan import Plan
from trainer_hooks.wire.run_documents import Exit

HUNG = ("MainThread\n  train.py:3 main\n  data.py:9 fetch\n  threading.py:327 Condition.wait",)


def trained(policy: Policy | None = None, batches: int = 150) -> Simulation:
    """One epoch with its checkpoint, and half of the next."""
    training = supervised(policy=policy or Policy())
    training.restart(1)
    training.noisy_batches(100)
    training.checkpoint("c1", epoch=1)
    training.noisy_batches(batches - 100)
    return training


def stand_still(training: Simulation, orders: int, seconds: int = 2_000) -> None:
    """No batch comes, and every look at the stacks shows the same place, until there are so many orders to stop."""
    for _ in range(seconds):
        training.tick(1.0)
        if len(stops(training)) == orders:
            return
        streak = training.run.training.ledger.stacks.streak
        for order in list(streak.waiting.values()) if streak else ():
            training.send(StacksSeen(training.now_s, order.id, "train", 30.0, "hook", HUNG), rank=order.rank)
    raise AssertionError(f"no order came: {training.messages}")


def stops(training: Simulation) -> list[Any]:
    return [order for order in training.orders if order.kind == "stop"]


def relaunch(training: Simulation) -> Plan:
    """The process is killed, and the next generation starts from the plan."""
    plan = training.plans[stops(training)[-1].plan]
    exit_ = Exit(number=training.generation, code=None, signal=9, ended_s=training.now_s)
    training.feed(GenerationExited("night", exit_, relaunch=True))
    training.restart(plan.start_epoch, plan=plan.id)
    return plan


def test_a_start_that_hangs_is_made_three_times_and_the_last_time_with_the_users_own_settings() -> None:
    training = trained()
    stand_still(training, 1)
    for number in (1, 2, 3):
        plan = relaunch(training)
        assert (plan.generation, plan.start_epoch, plan.changes) == (number + 1, 2, ())
        stand_still(training, number + 1)
    assert training.incident.state is IncidentState.GIVEN_UP
    assert stops(training)[-1].plan == ""
    assert "it stood still again after 3 new starts" in training.messages[-1]
    assert training.incident.totals.rollbacks == 3


def test_what_a_start_that_hung_cost_is_in_the_time_lost() -> None:
    training = trained()
    stood_s = training.now_s
    stand_still(training, 1)
    relaunch(training)
    stand_still(training, 2)
    plan = relaunch(training)
    training.noisy_batch()
    assert plan.generation == 3
    assert training.incident.totals.downtime_s == pytest.approx(training.now_s - stood_s)
    assert training.run.downtime_s == pytest.approx(training.now_s - stood_s)


def test_a_start_after_nan_that_hangs_is_made_again_with_the_settings_that_answer_the_nan() -> None:
    table = DecisionTable(adjust_after=3, early_share=0.0)
    training = trained(Policy(when_clean=WhenClean.ROLLBACK, table=table))
    while not stops(training):
        training.batch(float("nan"), float("nan"))
    first = relaunch(training)
    assert first.changes
    stand_still(training, 2)
    again = relaunch(training)
    assert (again.generation, again.start_epoch) == (3, first.start_epoch)
    assert (again.settings, again.changes) == (first.settings, first.changes)
    training.noisy_batches(5)
    assert not training.incident.hangs
    assert "the new start trains no batch: it stands still" in "\n".join(training.messages)
