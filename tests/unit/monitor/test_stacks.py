"""A training that hangs, told in virtual time: who is asked where it stands, how often, and what is made of it."""

from __future__ import annotations

import random

from monitor.core.detectors.hang import HangConfig
from monitor.core.model import Entry, LookAtTraining, SendOrder, StacksTaken, Tick
from monitor.core.policy.settings import Detectors, Policy
from monitor.core.policy.stack_collection import LOOKS_MAX, STREAKS_MAX
from monitor.core.policy.table_settings import DecisionTable
from tests.harness.simulation import Simulation
from trainer_hooks.wire.messages import Order, PhaseChanged, StacksSeen

HUNG = ("MainThread\n  train.py:3 main\n  data.py:9 fetch\n  threading.py:327 Condition.wait",)


class Standstill(Simulation):
    """A training whose orders and requests for a look from outside can be counted."""

    @property
    def sent(self) -> list[Order]:
        """Every order, again each time that it was sent."""
        return [effect.order for effect in self.effects if isinstance(effect, SendOrder)]

    @property
    def looks(self) -> list[LookAtTraining]:
        return [effect for effect in self.effects if isinstance(effect, LookAtTraining)]

    def go_on(self, batches: int = 300, ranks: int = 1) -> None:
        draw = random.Random(1)
        for _ in range(batches):
            for rank in range(ranks):
                self.batch(draw.uniform(0.9, 1.1), 1.0, took_s=0.2, rank=rank)

    def silent(self, seconds: int) -> None:
        for _ in range(seconds):
            self.tick(1.0)

    def answer(self, order: Order, threads: tuple[str, ...] = HUNG) -> None:
        self.send(StacksSeen(self.now_s, order.id, "train", 30.0, "hook", threads), rank=order.rank)

    @property
    def wanted(self) -> dict[str, Order]:
        return {order.id: order for order in self.sent if order.kind == "stacks"}


def hung(ranks: int = 1, *, act: bool = False) -> Standstill:
    config = HangConfig(act=act, act_floor_s=60.0, act_intervals=5.0)
    training = Standstill(policy=Policy(detectors=Detectors(hang=config)))
    training.send(PhaseChanged(0.0, 1, "train"))
    training.go_on(ranks=ranks)
    training.silent(31)
    assert training.found == {"hang/warning": 1}
    return training


def test_every_rank_is_asked_once_and_again_until_it_answers() -> None:
    training = hung(ranks=3)
    assert sorted(order.rank for order in training.wanted.values()) == [0, 1, 2]
    training.silent(3)
    assert len(training.wanted) == 3
    assert len(training.sent) > 6
    for order in training.wanted.values():
        training.answer(order)
    before = len(training.sent)
    training.silent(100)
    assert len(training.sent) == before
    assert not training.looks
    assert [taken.rank for taken in training.run.training.ledger.stacks.taken] == [0, 1, 2]


def test_people_are_told_where_it_stands_and_the_rank_that_stands_elsewhere_comes_first() -> None:
    training = hung(ranks=3)
    for order in training.wanted.values():
        other = ("MainThread\n  train.py:3 main\n  data.py:5 open_archive",)
        training.answer(order, other if order.rank == 1 else HUNG)
    assert [alert.kind for alert in training.alerts] == ["watch", "stacks"]
    assert training.alerts[-1].text.startswith("rank 1 stands in data.py:5 open_archive < train.py:3 main; rank 0, 2 ")
    assert training.alerts[-1].text in training.messages


def test_a_rank_that_does_not_answer_is_looked_at_from_outside_once() -> None:
    training = hung(ranks=2)
    first, second = training.wanted.values()
    training.answer(first)
    training.silent(10)
    assert [(look.rank, look.order) for look in training.looks] == [(second.rank, second.id)]
    seen = StacksSeen(training.now_s, second.id, "", 0.0, "faulthandler", HUNG)
    training.feed(StacksTaken("night", 1, second.rank, seen))
    training.feed(StacksTaken("night", 1, second.rank, seen))
    assert [taken.seen.how for taken in training.run.training.ledger.stacks.taken] == ["hook", "faulthandler"]
    assert "stands in threading.py:327" in training.alerts[-1].text


def stopped(act_on_stopped: bool) -> Standstill:
    """One whose process was stopped, looked at twice; then everything that the policy may do is due."""
    training = hung(act=True)
    training.policy = Policy(table=DecisionTable(act_on_stopped=act_on_stopped), detectors=training.policy.detectors)
    training.run.policy = training.policy.model_dump_json()
    kernel = ("what the kernel says of its threads\n  thread 7: python, T (stopped)",)
    for _ in range(3):
        training.silent(20)
        for order in list(training.wanted.values()):
            seen = StacksSeen(training.now_s, order.id, "", 0.0, "/proc", kernel, stopped=True)
            training.feed(StacksTaken("night", 1, order.rank, seen))
    training.silent(60)
    return training


def test_a_training_that_was_stopped_from_outside_is_reported_with_the_remedy_and_left_alone() -> None:
    training = stopped(act_on_stopped=False)
    assert training.alerts[-1].text == (
        "rank 0 was stopped from outside, by a signal or a debugger. No action is taken (table.act_on_stopped: false). "
        "To continue it: kill -CONT 1000"
    )
    assert not training.run.training.ledger.incidents
    training.go_on()
    assert not training.run.training.ledger.incidents


def test_the_policy_may_treat_a_training_that_was_stopped_like_a_hang() -> None:
    training = stopped(act_on_stopped=True)
    assert [incident.family for incident in training.run.training.ledger.incidents] == ["hang"]
    assert "No action is taken" not in training.alerts[-1].text


def test_when_nobody_answers_that_is_said_and_no_second_alert_goes_out() -> None:
    training = hung()
    training.silent(60)
    assert [alert.kind for alert in training.alerts] == ["watch"]
    assert any("not known where training stands still" in said for said in training.messages)


def test_an_answer_that_nobody_asked_for_is_passed_over() -> None:
    training = hung()
    [order] = training.wanted.values()
    training.answer(Order("night-g1-o99", "night", 1, 0, "stacks", "", ""))
    assert not training.run.training.ledger.stacks.taken
    training.answer(order)
    training.answer(order)
    assert len(training.run.training.ledger.stacks.taken) == 1


def test_a_hang_is_acted_on_where_two_looks_see_the_same_stacks() -> None:
    training = hung(act=True)
    [order] = training.wanted.values()
    training.answer(order)
    training.silent(20)
    assert len(training.wanted) == 1
    training.silent(12)  # more than a minute now
    assert not training.run.training.ledger.incidents
    second = training.wanted.keys() - {order.id}
    training.answer(training.wanted[second.pop()])
    training.silent(4)
    [incident] = training.run.training.ledger.incidents
    assert incident.family == "hang"
    assert "stands in threading.py:327 Condition.wait" in "".join(training.messages)


def test_a_long_step_that_goes_on_is_looked_at_a_few_times_and_left_alone() -> None:
    """Its stack is another one at every look."""
    training = hung(act=True)
    answered: set[str] = set()
    for look in range(200):
        for id_ in training.wanted.keys() - answered:
            answered.add(id_)
            training.answer(training.wanted[id_], (f"MainThread\n  model.py:{look} forward",))
        training.silent(5)
    assert len(training.wanted) == LOOKS_MAX
    assert not training.run.training.ledger.incidents


def test_a_hang_whose_stacks_nobody_can_take_is_not_acted_on() -> None:
    training = hung(act=True)
    training.silent(600)
    assert not training.run.training.ledger.incidents


def test_a_training_that_hangs_again_and_again_is_asked_a_bounded_number_of_times() -> None:
    training = Standstill()
    training.send(PhaseChanged(0.0, 1, "train"))
    for _ in range(STREAKS_MAX + 3):
        training.go_on(400)
        training.run.training.silence.longest_s["train"] = 0.3  # else the next is compared with the last standstill
        training.silent(60)
    assert len(training.wanted) == STREAKS_MAX


def test_the_state_after_a_restart_goes_on_asking() -> None:
    training = hung()
    training.reload()
    before = len(training.sent)
    training.silent(2)
    assert len(training.sent) > before


def test_the_same_entries_give_the_same_orders() -> None:
    first, second = hung(ranks=2), hung(ranks=2)
    assert list(first.wanted) == list(second.wanted)
    assert first.core.feed(Entry(first.core.fleet.seq, first.now_s, Tick())).effects == []


def test_what_is_kept_of_the_stacks_is_bounded() -> None:
    training = hung()
    [order] = training.wanted.values()
    training.answer(order, tuple(f"thread {number}\n" + "  a.py:1 f\n" * 5000 for number in range(50)))
    [taken] = training.run.training.ledger.stacks.taken
    assert [text.partition("\n")[0] for text in taken.seen.threads][-2:] == ["thread 48", "thread 49"]
    assert sum(map(len, taken.seen.threads)) < 20_000
