"""A loop whose state alone goes back, within its process: the loop goes on counting, and what is said of it is true."""

from __future__ import annotations

import math
from typing import Any

import pytest

from monitor.core.model import (
    ActionKind,
    CommandGiven,
    CommandKind,
    EpochStatus,
    GenerationDied,
    GenerationExited,
    IncidentState,
    Verdict,
)
from monitor.core.policy.settings import Policy, Rollback
from monitor.core.policy.situation import damage
from monitor.core.state.run import TrainingState
from monitor.core.summary.time_cost import time_lost
from monitor.report import render
from tests.harness.simulation import SUPERVISOR_PID, Simulation
from trainer_hooks.wire.messages import Nonfinite, Order, OrderApplied, PlanApplied, SkippedBy
from trainer_hooks.wire.plan import Plan
from trainer_hooks.wire.run_documents import Exit

DAMAGE = int(Nonfinite.LOSS | Nonfinite.GRADIENT | Nonfinite.PARAMETER)
PUT_BACK = "the state after batch 40 of epoch 1 is put back, and the loop goes on where it is"


class Loop(Simulation):
    """Epochs of 100 batches, which nothing guards."""

    def __init__(self, policy: Policy | None = None, **changes: Any) -> None:
        known = {"batches_per_epoch": 100, "epochs": 20, "framework": "torch", "keeps_position": True}
        super().__init__(
            policy=policy or Policy(rollback=Rollback(cool_down_batches=0)), act=True, supervisor_pid=SUPERVISOR_PID,
            **known | changes,
        )  # fmt: skip

    @property
    def training(self) -> TrainingState:
        return self.run.training

    def healthy(self, batches: int) -> None:
        for _ in range(batches):
            self.noisy_batch()

    def damaged(self, batches: int = 1) -> None:
        for _ in range(batches):
            self.batch(math.nan, math.nan, cured=False, nonfinite=DAMAGE)

    def snapshot(self, digest: str, *, startable: bool = False) -> None:
        """Of all batches so far."""
        epoch, batch = self.place()
        self.checkpoint(digest, epoch=epoch - 1, extra_batches=batch, startable=startable)

    def dies(self) -> None:
        exit_ = Exit(number=1, code=None, signal=9, ended_s=self.now_s)
        self.feed(GenerationDied("night", exit_, "", self.now_s + 60.0, ""))

    def _batch(self, rank: int, bits: int, **fields: Any) -> None:
        super()._batch(rank, fields.pop("nonfinite", bits), **fields)

    @property
    def plan(self) -> Plan:
        """Of the last order."""
        return self.plans[self.orders[-1].plan]

    def answers(self, outcome: str = "applied", detail: str = PUT_BACK) -> Order:
        """The last order."""
        epoch, batch = self.place()
        order = self.orders[-1]
        self.send(OrderApplied(self.now_s, order.id, outcome, detail, epoch, batch - 1, {}))
        return order


def damaged_loop(**changes: Any) -> Loop:
    """40 batches, a snapshot, 30 batches, and two of damage."""
    loop = Loop(**changes)
    loop.healthy(40)
    loop.snapshot("a")
    loop.healthy(30)
    loop.damaged(2)
    return loop


def test_damage_without_any_checkpoint_goes_back_to_a_snapshot_without_a_new_start() -> None:
    loop = damaged_loop()
    order = loop.orders[-1]
    assert (order.kind, loop.plan.in_process, loop.plan.generation, loop.plan.own_settings) == (
        "go_back",
        True,
        1,
        True,
    )
    assert loop.plan.snapshot is not None
    assert (loop.plan.snapshot.digest, loop.plan.snapshot.holds) == ("a", (0, 40))
    assert "the state alone goes back, and the training of 31 batches is lost" in loop.incident.timeline[-1].text
    loop.answers()
    loop.healthy(200)
    assert loop.incident.state is IncidentState.RESOLVED
    assert loop.generation == 1
    assert len(loop.orders) == 1
    assert f"rolled back in its process: {PUT_BACK}; the training of 32 batches is lost" in " ".join(loop.messages)


def leaves_out(loop: Loop, batches: int) -> None:
    """The script finds the NaN itself and takes no step."""
    for _ in range(batches):
        loop.batch(math.nan, cured=False, nonfinite=int(Nonfinite.LOSS), skipped_by=str(SkippedBy.SCRIPT))


def test_steps_that_the_script_leaves_out_itself_are_no_damage() -> None:
    loop = Loop()
    loop.healthy(40)
    loop.snapshot("a")
    loop.healthy(30)
    leaves_out(loop, 4)
    loop.healthy(5)
    leaves_out(loop, 4)
    assert damage(loop.training, loop.policy) is None
    assert [order.kind for order in loop.orders] == ["adjust"], "as where our guard has skipped them"
    loop.damaged()
    assert damage(loop.training, loop.policy) is not None


def test_a_bad_batch_of_an_accumulation_whose_script_leaves_it_out_is_no_damage() -> None:
    """Of four batches for a step the script adds only the finite ones up; the step at their end is healthy."""
    loop = Loop()
    loop.healthy(40)
    loop.snapshot("a")
    loop.healthy(30)
    for _ in range(8):
        before = loop.counts[0]
        loop.batch(math.nan, cured=False, nonfinite=int(Nonfinite.LOSS), stepped=False)
        assert loop.counts[0].steps == before.steps
        loop.healthy(3)
    assert damage(loop.training, loop.policy) is None
    assert "go_back" not in [order.kind for order in loop.orders]


def test_isolated_overflows_of_a_scaler_hide_no_damage() -> None:
    loop = Loop()
    loop.healthy(40)
    for _ in range(5):
        loop.batch(1.0, overflow=True)
        loop.healthy(3)
    loop.batch(math.nan, cured=False, nonfinite=int(Nonfinite.LOSS))
    found = damage(loop.training, loop.policy)
    assert found is not None
    assert found.reason == "nothing skipped the step of a bad batch"


def test_the_position_and_the_rows_of_the_epochs_go_on_and_the_lost_batches_are_counted_once() -> None:
    loop = damaged_loop()
    loop.answers()
    loop.healthy(78)
    assert loop.training.position is not None
    assert (loop.training.position.epoch, loop.training.position.batch) == (2, 49)
    rows = [(row.epoch, row.batches, row.status) for row in loop.training.epochs]
    assert rows == [(1, 100, EpochStatus.ENDED), (2, 50, EpochStatus.RUNNING)]
    assert loop.training.totals.batches_discarded == 32
    loop.snapshot("b")
    loop.healthy(50)
    loop.damaged()
    assert loop.plan.snapshot is not None
    loop.answers()
    lost = {"a": 201 - 40 - 32, "b": 51}[loop.plan.snapshot.digest]
    assert loop.training.totals.batches_discarded == 32 + lost


def test_what_was_saved_after_the_state_that_is_put_back_is_given_up_and_what_is_saved_later_is_not() -> None:
    loop = Loop()
    loop.healthy(40)
    loop.snapshot("a")
    loop.healthy(10)
    loop.damaged()
    loop.snapshot("b")
    loop.answers()
    loop.healthy(30)
    loop.snapshot("c")
    assert [(c.digest, c.abandoned) for c in loop.training.checkpoints] == [("a", False), ("b", True), ("c", False)]


def test_a_snapshot_whose_file_was_still_being_written_when_it_went_back_is_given_up_too() -> None:
    loop = damaged_loop()
    epoch, batch = loop.place()
    before = loop.counts[0]
    loop.answers()
    loop.healthy(2)
    now, loop.counts[0] = loop.counts[0], before
    loop.checkpoint("late", epoch=epoch - 1, extra_batches=batch)
    loop.counts[0] = now
    loop.healthy(30)
    loop.snapshot("later")
    assert [(c.digest, c.abandoned) for c in loop.training.checkpoints] == [
        ("a", False), ("late", True), ("later", False),
    ]  # fmt: skip


def test_bad_batches_before_it_went_back_are_no_damage_of_the_state_after_it() -> None:
    """Nothing guards the loop, so any bad batch is damage: those that are given up must not be found again."""
    loop = damaged_loop()
    loop.answers()
    assert damage(loop.training, loop.policy) is None
    loop.healthy(60)
    assert [order.kind for order in loop.orders] == ["go_back"]
    loop.damaged()
    assert damage(loop.training, loop.policy) is not None
    assert [order.kind for order in loop.orders] == ["go_back", "go_back"]
    assert loop.plan.snapshot is not None
    assert loop.plan.snapshot.digest == "a", "the same state once more, since nothing was changed"
    assert not loop.plan.own_settings
    assert loop.plan.settings.groups[0].base_rate < loop.rates[0]


def test_strengthened_settings_are_those_of_an_adjustment_and_leave_a_clip_alone_that_nobody_told() -> None:
    loop = damaged_loop()
    loop.answers()
    loop.healthy(30)
    loop.damaged()
    settings = loop.plan.settings
    assert (settings.ramp_batches, settings.weight_decay, settings.momentum) == (0, 0.0, 0.9)
    assert {change.setting for change in loop.plan.changes} == {"learning rate (lr0)"}


def test_a_third_try_goes_further_back() -> None:
    loop = Loop()
    loop.healthy(40)
    loop.snapshot("a")
    loop.healthy(30)
    loop.snapshot("b")
    targets = []
    for _ in range(3):
        loop.healthy(30)
        loop.damaged()
        assert loop.plan.snapshot is not None
        targets.append(loop.plan.snapshot.digest)
        loop.answers()
    assert targets == ["b", "b", "a"]


def test_a_refusal_stops_the_damaged_loop_as_without_snapshots_and_no_new_start_is_planned() -> None:
    loop = damaged_loop()
    loop.answers("refused", "the file was changed")
    assert [order.kind for order in loop.orders] == ["go_back", "stop"]
    assert loop.orders[-1].plan == ""
    assert "the newest clean state is the snapshot at batch 40 of epoch 1: /vault/a" in loop.incident.outcome


def test_with_in_process_false_no_snapshot_is_used() -> None:
    loop = damaged_loop(policy=Policy(rollback=Rollback(in_process=False)))
    assert [order.kind for order in loop.orders] == ["stop"]
    assert loop.plans == {}


def test_its_own_checkpoints_are_nothing_that_it_can_be_put_back_to() -> None:
    loop = Loop()
    loop.healthy(40)
    loop.snapshot("a")
    loop.healthy(10)
    loop.checkpoint("own", epoch=1)
    loop.healthy(30)
    loop.damaged()
    assert loop.plan.snapshot is not None
    assert loop.plan.snapshot.digest == "a"


def test_near_its_end_it_is_put_back_too_since_nothing_is_trained_again() -> None:
    loop = Loop(epochs=1)
    loop.healthy(96)
    loop.snapshot("a")
    loop.healthy(3)
    loop.damaged()
    assert [order.kind for order in loop.orders] == ["go_back"]


def test_a_snapshot_of_the_life_before_is_not_taken_for_one_of_this_life() -> None:
    """The script began anew: nobody knows what its counters say."""
    loop = Loop()
    loop.healthy(40)
    loop.snapshot("a")
    loop.healthy(40)
    loop.restart()
    loop.healthy(5)
    loop.damaged()
    assert [order.kind for order in loop.orders] == ["stop"]


def test_after_a_crash_no_plan_is_made_from_a_snapshot() -> None:
    loop = Loop()
    loop.healthy(60)
    loop.snapshot("a")
    loop.healthy(40)
    loop.dies()
    assert loop.plans == {}
    assert loop.run.ledger.not_restarted == "there is no clean checkpoint"


def test_what_it_would_have_cost_without_snapshots_is_not_known_of_such_a_loop() -> None:
    loop = Loop()
    loop.healthy(140)
    loop.snapshot("a", startable=True)
    loop.healthy(30)
    loop.dies()
    exit_ = Exit(number=1, code=None, signal=9, ended_s=loop.now_s)
    loop.feed(GenerationExited("night", exit_, relaunch=True))
    text = time_lost(loop.run, loop.training, loop.incident)
    assert "30 batches to train again" in text
    assert "Without snapshots" not in text


def test_a_loop_that_asks_where_to_start_is_begun_again_from_its_newest_snapshot() -> None:
    """Not from its own checkpoint, which is newer: of that only its script knows what to do with it."""
    loop = Loop()
    loop.healthy(60)
    loop.snapshot("a", startable=True)
    loop.healthy(40)
    loop.checkpoint("own", epoch=1)
    loop.healthy(30)
    loop.dies()
    (plan,) = loop.plans.values()
    assert plan.snapshot is not None
    assert (plan.snapshot.digest, plan.checkpoint, plan.best) == ("a", None, None)
    assert (plan.generation, plan.in_process, plan.own_settings, plan.replay) == (2, False, True, True)
    assert "70 batches to train again" in loop.messages[-2]


def test_once_it_has_gone_on_from_a_plan_the_snapshots_of_the_life_before_are_its_own_too() -> None:
    loop = Loop()
    loop.healthy(40)
    loop.snapshot("a", startable=True)
    loop.healthy(30)
    loop.dies()
    (plan,) = loop.plans.values()
    exit_ = Exit(number=1, code=None, signal=9, ended_s=loop.now_s)
    loop.feed(GenerationExited("night", exit_, relaunch=True))
    loop.restart(plan=plan.id)
    loop.send(PlanApplied(loop.now_s, plan.id, "first step", 1, {}, ()))
    assert loop.training.totals.batches_discarded == 30
    loop.healthy(5)
    loop.damaged()
    assert loop.orders[-1].kind == "go_back"
    assert loop.plan.snapshot is not None
    assert loop.plan.snapshot.digest == "a"


def test_a_rollback_that_a_person_asks_for_puts_the_state_back() -> None:
    loop = Loop()
    loop.healthy(40)
    loop.snapshot("a")
    loop.healthy(30)
    loop.feed(CommandGiven("night", CommandKind.ROLLBACK, "Ada"))
    assert (loop.orders[-1].kind, loop.incident.action.kind) == ("go_back", ActionKind.ROLLBACK)


def test_the_report_says_what_is_lost_and_promises_no_batch_again() -> None:
    loop = damaged_loop()
    training, incident = loop.training, loop.incident
    assert time_lost(loop.run, training, incident).endswith("so far: the training of 32 batches.")
    loop.answers()
    loop.healthy(200)
    assert time_lost(loop.run, training, incident).endswith(": the training of 32 batches.")
    text = render(loop.run, training, incident, loop.now_s)
    assert "the loop goes on where it is: no batch is trained again" in text
    assert "the same batches once more" not in text


@pytest.mark.parametrize("verdict", [Verdict.POISONED, Verdict.UNVERIFIED])
def test_a_snapshot_that_is_not_sound_is_not_put_back(verdict: Verdict) -> None:
    loop = Loop()
    loop.healthy(40)
    epoch, batch = loop.place()
    loop.checkpoint("a", verdict, epoch=epoch - 1, extra_batches=batch)
    loop.healthy(30)
    loop.damaged(2)
    assert [order.kind for order in loop.orders] == ["stop"]
