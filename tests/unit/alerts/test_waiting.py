"""What the deliverer makes of rows that wait, that are never sent, and that a receiver forgets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

import msgspec
import pytest

from alerts.alert import Alert
from alerts.deliver import WAITED_S, Receiver
from alerts.digest import DIGEST
from alerts.http import Http
from alerts.notifiers import Outcome, Sent, register
from alerts.outbox import OutboxRow, Settled
from alerts.resend import LIVE_MAX, Live
from alerts.stages import Held, Passage, Sending, Stopped
from tests.harness.alerts import START_S, Delivery, alert

HOUR_S = 3600.0


class Person:
    """Takes everything, and keeps it."""

    def __init__(self) -> None:
        self.got: list[Alert] = []
        self.refusals = 0
        self.came = asyncio.Event()

    async def until(self, what: Callable[[], bool]) -> None:
        """Wait, one message after the other."""
        while not what():
            await self.came.wait()
            self.came.clear()

    def over(self) -> set[str]:
        return {one.id for one in self.got if one.ended_s is not None}


@register("person", Person)
async def person(told: Alert, config: Person, http: Http, now_s: float) -> Sent:
    """A notifier for tests."""
    config.got.append(told)
    config.came.set()
    if config.refusals:
        config.refusals -= 1
        return Sent(Outcome.RETRY, "HTTP 503")
    return Sent(Outcome.OK)


register("program", Person, each=True)(person)
register("forgetful", Person, each=True, resend=True)(person)


def until_noon(rows: Sequence[OutboxRow], _: Sequence[Sending], waited: AbstractSet[int], now_s: float) -> Passage:
    """Everything waits for an hour."""
    noon_s = START_S + HOUR_S
    if now_s < noon_s:
        return Passage((), tuple(Held(row, noon_s, "quiet hours") for row in rows))
    return Passage(tuple(rows))


def night_of(kind: str, whom: Person) -> Delivery:
    return Delivery({"ops": Receiver(name="ops", kind=kind, config=whom)}, judge=until_noon)


def of_thread(alert_id: str, thread: str, *, over: bool = False) -> Alert:
    return msgspec.structs.replace(alert(alert_id), thread=thread, ended_s=START_S if over else None)


def test_what_waited_together_leaves_as_one_message_and_every_row_is_settled() -> None:
    async def scene() -> None:
        whom = Person()
        async with night_of("person", whom).running() as delivery:
            for number in range(5):
                delivery.store(alert(f"a{number}"))
            await asyncio.sleep(0)
            delivery.advance(HOUR_S)
            await delivery.until(lambda: len(delivery.settled) == 5)
        assert [one.id for one in whom.got] == [f"a0/{DIGEST}"]
        assert {outcome for _, _, outcome in delivery.settled} == {Settled.DELIVERED}
        assert not delivery.outbox.rows

    asyncio.run(scene())


def test_a_message_of_many_that_is_not_taken_is_tried_again_with_the_same_id() -> None:
    async def scene() -> None:
        whom = Person()
        whom.refusals = 1
        async with night_of("person", whom).running() as delivery:
            for number in range(3):
                delivery.store(alert(f"a{number}"))
            await asyncio.sleep(0)
            delivery.advance(HOUR_S)
            await delivery.until(lambda: bool(delivery.outbox.errors))
            delivery.advance_to_due()
            delivery.advance(1.0)
            await delivery.until(lambda: len(delivery.settled) == 3)
        assert [one.id for one in whom.got] == [f"a0/{DIGEST}"] * 2

    asyncio.run(scene())


def test_a_program_gets_what_waited_one_by_one() -> None:
    async def scene() -> None:
        whom = Person()
        async with night_of("program", whom).running() as delivery:
            for number in range(3):
                delivery.store(alert(f"a{number}"))
            await asyncio.sleep(0)
            delivery.advance(HOUR_S)
            await delivery.until(lambda: len(delivery.settled) == 3)
        assert [one.id for one in whom.got] == ["a0", "a1", "a2"]

    asyncio.run(scene())


def test_a_row_that_waits_holds_no_other_up() -> None:
    def hold_the_first(
        rows: Sequence[OutboxRow], _: Sequence[Sending], waited: AbstractSet[int], now_s: float
    ) -> Passage:
        return Passage(tuple(rows[1:]), (Held(rows[0], now_s + 1, "rate limit"),) if rows else ())

    async def scene() -> None:
        whom = Person()
        delivery = Delivery({"ops": Receiver(name="ops", kind="person", config=whom)}, judge=hold_the_first)
        async with delivery.running():
            delivery.store(alert("small"))
            delivery.store(alert("severe"))
            await delivery.until(lambda: bool(delivery.settled))
        assert [one.id for one in whom.got] == ["severe"]

    asyncio.run(scene())


def test_what_nobody_tried_for_long_leaves_together_after_a_restart_too() -> None:
    """Nothing in memory says that it waited for the end of the quiet hours."""

    def all_go(rows: Sequence[OutboxRow], _: Sequence[Sending], waited: AbstractSet[int], now_s: float) -> Passage:
        return Passage(tuple(rows))

    async def scene() -> None:
        whom = Person()
        delivery = Delivery({"ops": Receiver(name="ops", kind="person", config=whom)}, judge=all_go)
        for number in range(3):
            delivery.store(alert(f"a{number}"))
        delivery.advance(WAITED_S + 1)
        async with delivery.running():
            await delivery.until(lambda: len(delivery.settled) == 3)
        assert [one.id for one in whom.got] == [f"a0/{DIGEST}"]

    asyncio.run(scene())


def test_where_the_rules_fail_everything_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    def broken(rows: Sequence[OutboxRow], _: Sequence[Sending], waited: AbstractSet[int], now_s: float) -> Passage:
        raise ZeroDivisionError

    async def scene() -> None:
        whom = Person()
        delivery = Delivery({"ops": Receiver(name="ops", kind="person", config=whom)}, judge=broken)
        async with delivery.running():
            delivery.store(alert("a"))
            await delivery.until(lambda: bool(delivery.settled))
        assert [one.id for one in whom.got] == ["a"]

    asyncio.run(scene())
    assert "all are sent" in caplog.text


def test_what_is_stopped_is_settled_and_never_sent() -> None:
    def stop(rows: Sequence[OutboxRow], _: Sequence[Sending], waited: AbstractSet[int], now_s: float) -> Passage:
        return Passage((), stopped=tuple(Stopped(row, "silenced") for row in rows))

    async def scene() -> None:
        whom = Person()
        delivery = Delivery({"ops": Receiver(name="ops", kind="person", config=whom)}, judge=stop)
        async with delivery.running():
            delivery.store(alert("a"))
            await delivery.until(lambda: bool(delivery.settled))
        assert delivery.settled == [("a", "ops", Settled.SUPPRESSED)]
        assert whom.got == []

    asyncio.run(scene())


def test_a_receiver_that_forgets_gets_every_alert_of_a_thread_again_until_it_is_over_and_then_all_as_over() -> None:
    async def scene() -> None:
        whom = Person()
        delivery = Delivery({"ops": Receiver(name="ops", kind="forgetful", config=whom)}, resend_s=0.01)
        async with delivery.running():
            for told in (of_thread("i1/opened", "i1"), of_thread("i1/back", "i1"), alert("alone")):
                delivery.store(told)
            await delivery.until(lambda: len(delivery.settled) == 3)
            await whom.until(lambda: [one.id for one in whom.got].count("i1/back") >= 3)
            assert [one.id for one in whom.got].count("i1/opened") >= 3
            assert [one.id for one in whom.got].count("alone") == 1
            delivery.store(of_thread("i1/resolved", "i1", over=True))
            await whom.until(lambda: whom.over() == {"i1/resolved", "i1/opened", "i1/back"})
            after = len(whom.got)
            await asyncio.sleep(0.05)
            assert len(whom.got) == after

    asyncio.run(asyncio.wait_for(scene(), 20.0))


def test_so_many_alerts_are_repeated_and_the_oldest_leaves() -> None:
    live = Live()
    for number in range(LIVE_MAX + 1):
        told = of_thread(f"a{number}", "i1")
        live.take(
            OutboxRow(
                id=number, receiver="ops", lane="r", alert=told, attempts=0, created_s=START_S, next_s=START_S
            )
        )  # fmt: skip
    due = live.due(START_S)
    assert len(due) == LIVE_MAX
    assert due[0].alert.id == "a1"
