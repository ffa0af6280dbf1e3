"""A training that hangs, told in virtual time: who is asked where it stands, how often, and what is made of it."""

from __future__ import annotations

import random

from monitor.core.detectors.hang import HangConfig
from monitor.core.model import Effect, Entry, Input, LookAtTraining, SendOrder, StacksTaken, Tick
from monitor.core.policy.settings import Detectors, Policy
from monitor.core.policy.stack_collection import STREAKS_MAX
from tests.harness.streams import Stream
from trainer_hooks.wire.messages import Order, PhaseChanged, StacksSeen

HUNG = ("MainThread\n  train.py:3 main\n  data.py:9 fetch\n  threading.py:327 Condition.wait",)


class Standstill(Stream):
    """A stream that remembers what was sent and asked for."""

    def put(self, given: Input) -> list[Effect]:
        effects = super().put(given)
        self.sent = [*getattr(self, "sent", []), *(e.order for e in effects if isinstance(e, SendOrder))]
        self.looks = [*getattr(self, "looks", []), *(e for e in effects if isinstance(e, LookAtTraining))]
        return effects

    def train(self, batches: int = 300, ranks: int = 1) -> None:
        draw = random.Random(1)
        for _ in range(batches):
            for rank in range(ranks):
                self.batch(draw.uniform(0.9, 1.1), 1.0, took_s=0.2, rank=rank)

    def silent(self, seconds: int) -> None:
        for _ in range(seconds):
            self.tick(1.0)

    def answer(self, order: Order, threads: tuple[str, ...] = HUNG) -> None:
        self.event_seq += 1
        seen = StacksSeen(self.now_s, order.id, "train", 30.0, "hook", threads)
        self.event_seq -= 1
        self.event(seen, rank=order.rank)

    @property
    def wanted(self) -> dict[str, Order]:
        return {order.id: order for order in self.sent if order.kind == "stacks"}


def hung(ranks: int = 1, *, act: bool = False) -> Standstill:
    stream = Standstill(policy=Policy(detectors=Detectors(hang=HangConfig(act=act))))
    stream.event(PhaseChanged(0.0, 1, "train"))
    stream.train(ranks=ranks)
    stream.silent(31)
    assert stream.found == ({"hang/critical": 1} if act else {"hang/warning": 1})
    return stream


def test_every_rank_is_asked_once_and_again_until_it_answers() -> None:
    stream = hung(ranks=3)
    assert sorted(order.rank for order in stream.wanted.values()) == [0, 1, 2]
    stream.silent(3)
    assert len(stream.wanted) == 3
    assert len(stream.sent) > 6
    for order in stream.wanted.values():
        stream.answer(order)
    before = len(stream.sent)
    stream.silent(100)
    assert len(stream.sent) == before
    assert not stream.looks
    assert [taken.rank for taken in stream.run.stacks.taken] == [0, 1, 2]


def test_people_are_told_where_it_stands_and_the_rank_that_stands_elsewhere_comes_first() -> None:
    stream = hung(ranks=3)
    for order in stream.wanted.values():
        other = ("MainThread\n  train.py:3 main\n  data.py:5 open_archive",)
        stream.answer(order, other if order.rank == 1 else HUNG)
    assert [alert.kind for alert in stream.alerts] == ["watch", "stacks"]
    assert stream.alerts[-1].text.startswith("rank 1 stands in data.py:5 open_archive < train.py:3 main; rank 0, 2 ")
    assert stream.alerts[-1].text in stream.said


def test_a_rank_that_does_not_answer_is_looked_at_from_outside_once() -> None:
    stream = hung(ranks=2)
    first, second = stream.wanted.values()
    stream.answer(first)
    stream.silent(10)
    assert [(look.rank, look.order) for look in stream.looks] == [(second.rank, second.id)]
    seen = StacksSeen(stream.now_s, second.id, "", 0.0, "faulthandler", HUNG)
    stream.put(StacksTaken("s", 1, second.rank, seen))
    stream.put(StacksTaken("s", 1, second.rank, seen))
    assert [taken.seen.how for taken in stream.run.stacks.taken] == ["hook", "faulthandler"]
    assert "stands in threading.py:327" in stream.alerts[-1].text


def test_when_nobody_answers_that_is_said_and_no_second_alert_goes_out() -> None:
    stream = hung()
    stream.silent(60)
    assert [alert.kind for alert in stream.alerts] == ["watch"]
    assert any("nobody could say where it stands" in said for said in stream.said)


def test_an_answer_that_nobody_asked_for_is_passed_over() -> None:
    stream = hung()
    [order] = stream.wanted.values()
    stream.answer(Order("s-g1-o99", "s", 1, 0, "stacks", "", ""))
    assert not stream.run.stacks.taken
    stream.answer(order)
    stream.answer(order)
    assert len(stream.run.stacks.taken) == 1


def test_an_incident_about_a_hang_waits_for_the_stacks_and_tells_them_in_its_story() -> None:
    stream = hung(act=True)
    assert not stream.run.incidents
    [order] = stream.wanted.values()
    stream.answer(order)
    stream.silent(4)
    [incident] = stream.run.incidents
    assert incident.family == "hang"
    assert "stands in threading.py:327 Condition.wait" in "".join(stream.said)


def test_an_incident_about_a_hang_does_not_wait_for_ever() -> None:
    stream = hung(act=True)
    stream.silent(30)
    assert [incident.family for incident in stream.run.incidents] == ["hang"]


def test_a_training_that_hangs_again_and_again_is_asked_a_bounded_number_of_times() -> None:
    stream = Standstill()
    stream.event(PhaseChanged(0.0, 1, "train"))
    for _ in range(STREAKS_MAX + 3):
        stream.train(400)
        stream.run.longest_s["train"] = 0.3  # or the last standstill is what the next is held against
        stream.silent(60)
    assert len(stream.wanted) == STREAKS_MAX


def test_the_state_after_a_restart_goes_on_asking() -> None:
    stream = hung()
    stream.reload()
    before = len(stream.sent)
    stream.silent(2)
    assert len(stream.sent) > before


def test_the_same_entries_give_the_same_orders() -> None:
    first, second = hung(ranks=2), hung(ranks=2)
    assert list(first.wanted) == list(second.wanted)
    assert first.core.feed(Entry(first.seq, first.now_s, Tick())).effects == []


def test_what_is_kept_of_the_stacks_is_bounded() -> None:
    stream = hung()
    [order] = stream.wanted.values()
    stream.answer(order, tuple(f"thread {number}\n" + "  a.py:1 f\n" * 5000 for number in range(50)))
    [taken] = stream.run.stacks.taken
    assert [text.partition("\n")[0] for text in taken.seen.threads][-2:] == ["thread 48", "thread 49"]
    assert sum(map(len, taken.seen.threads)) < 20_000
