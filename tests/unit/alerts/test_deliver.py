"""The one place that retries: when, how often, in which order, and when it gives up."""

from __future__ import annotations

import asyncio
import time

import pytest

from alerts.alert import Alert
from alerts.deliver import BACKOFF_MAX_S, EXPIRES_S, POLL_S, Receiver, backoff_s
from alerts.http import Http
from alerts.notifiers import Outcome, Sent, register
from alerts.outbox import Settled
from tests.harness.alerts import Delivery, alert


class Script:
    """What a receiver answers, one after the other, and its last answer for ever."""

    def __init__(self, *answers: Sent | Exception) -> None:
        self.answers = list(answers)
        self.got: list[str] = []
        self.in_flight = self.in_flight_max = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.called = asyncio.Event()


@register("scripted", Script)
async def scripted(told: Alert, config: Script, http: Http, now_s: float) -> Sent:
    """A notifier like any other; only where it gets its answer from is ours."""
    config.in_flight += 1
    config.in_flight_max = max(config.in_flight_max, config.in_flight)
    config.got.append(told.id)
    config.called.set()
    await config.gate.wait()
    config.in_flight -= 1
    answer = config.answers.pop(0) if len(config.answers) > 1 else config.answers[0]
    if isinstance(answer, Exception):
        raise answer
    return answer


OK, REFUSED = Sent(Outcome.OK), Sent(Outcome.REFUSED, "HTTP 404")
RETRY = Sent(Outcome.RETRY, "HTTP 503")


def receiver(script: Script, name: str = "ops") -> Receiver:
    return Receiver(name=name, kind="scripted", config=script)


def test_backoff_doubles_from_one_second_to_five_minutes_and_jitter_only_shortens_it() -> None:
    assert [backoff_s(n, 0.0) for n in (1, 2, 3, 9, 10, 1000)] == [1.0, 2.0, 4.0, 256.0, BACKOFF_MAX_S, BACKOFF_MAX_S]
    assert backoff_s(4, 1.0) == 4.0
    assert backoff_s(4, 0.5) == 6.0


def test_a_failed_try_is_repeated_after_the_backoff_with_the_same_id() -> None:
    async def two_failures() -> tuple[Delivery, list[float]]:
        waits_s = []
        async with Delivery({"ops": receiver(Script(RETRY, RETRY, OK))}).running() as delivery:
            delivery.store(alert("a"))
            for failures in (1, 2):
                await delivery.until(lambda: len(delivery.outbox.errors) == failures)  # noqa: B023 - awaited here
                waits_s.append(delivery.outbox.rows[1].next_s - delivery.now_s)
                delivery.advance_to_due()
            await delivery.until(lambda: delivery.settled != [])
        return delivery, waits_s

    delivery, waits_s = asyncio.run(two_failures())
    assert waits_s == [1.0, 2.0]
    assert delivery.settled == [("a", "ops", Settled.DELIVERED)]


def test_a_failed_try_is_repeated_by_itself_when_its_time_has_come() -> None:
    """On the real clock: the wait is one second, and nobody wakes the deliverer."""

    async def nobody_wakes() -> Delivery:
        async with Delivery(
            {"ops": receiver(Script(RETRY, OK))}, clock=time.time, now_s=time.time()
        ).running() as delivery:
            delivery.store(alert("a"))
            await delivery.until(lambda: delivery.settled != [], seconds=POLL_S - 1)
        return delivery

    assert asyncio.run(nobody_wakes()).settled == [("a", "ops", Settled.DELIVERED)]


def test_what_is_refused_is_not_tried_again() -> None:
    async def refused() -> Delivery:
        async with Delivery({"ops": receiver(Script(REFUSED, OK))}).running() as delivery:
            delivery.store(alert("a"))
            await delivery.until(lambda: delivery.settled != [])
        return delivery

    assert asyncio.run(refused()).settled == [("a", "ops", Settled.REFUSED)]


def test_a_receiver_that_asks_for_longer_gets_it() -> None:
    async def told_to_wait() -> float:
        async with Delivery({"ops": receiver(Script(Sent(Outcome.RETRY, "HTTP 429", 120.0)))}).running() as delivery:
            delivery.store(alert("a"))
            await delivery.until(lambda: delivery.outbox.errors != [])
            (row,) = delivery.outbox.rows.values()
            return row.next_s - delivery.now_s

    assert asyncio.run(told_to_wait()) == 120.0


def test_alerts_of_one_run_arrive_in_order_and_one_at_a_time() -> None:
    async def ordered() -> Script:
        script = Script(RETRY, OK)
        async with Delivery({"ops": receiver(script)}).running() as delivery:
            for n in range(5):
                delivery.store(alert(f"a{n}"))
            await delivery.until(lambda: delivery.outbox.errors != [])
            delivery.advance(1.0)
            await delivery.until(lambda: len(delivery.settled) == 5)
        return script

    script = asyncio.run(ordered())
    assert script.got == ["a0", "a0", "a1", "a2", "a3", "a4"]
    assert script.in_flight_max == 1


def test_two_runs_that_share_a_receiver_never_try_it_at_once() -> None:
    async def shared() -> Script:
        script = Script(OK)
        async with Delivery({"ops": receiver(script)}).running() as delivery:
            for n in range(4):
                delivery.store(alert(f"{n}", run=f"run{n}"))
            await delivery.until(lambda: len(delivery.settled) == 4)
        return script

    script = asyncio.run(shared())
    assert sorted(script.got) == ["0", "1", "2", "3"]
    assert script.in_flight_max == 1


def test_a_receiver_that_hangs_or_is_down_holds_up_no_other() -> None:
    async def one_hangs() -> Delivery:
        hanging, down, well = Script(OK), Script(RETRY), Script(OK)
        hanging.gate.clear()
        receivers = {
            "hanging": receiver(hanging, "hanging"),
            "down": receiver(down, "down"),
            "well": receiver(well, "well"),
        }
        async with Delivery(receivers).running() as delivery:
            for n in range(3):
                for name in receivers:
                    delivery.store(alert(f"a{n}"), name)
            await delivery.until(lambda: len(delivery.settled) == 3)
            assert hanging.got == ["a0"]
        return delivery

    assert {name for _, name, _ in asyncio.run(one_hangs()).settled} == {"well"}


def test_after_72_hours_of_failures_an_alert_expires_and_the_next_one_gets_its_turn() -> None:
    async def down_for_days() -> tuple[Delivery, float]:
        script = Script(RETRY)
        async with Delivery({"ops": receiver(script)}).running() as delivery:
            delivery.store(alert("a"))
            started_s, failures = delivery.now_s, 0
            while not delivery.settled:
                failures += 1
                await delivery.until(lambda: delivery.settled != [] or len(delivery.outbox.errors) == failures)  # noqa: B023
                delivery.advance_to_due()
            lasted_s = delivery.now_s - started_s
            script.answers = [OK]
            delivery.store(alert("b"))
            await delivery.until(lambda: len(delivery.settled) == 2)
        return delivery, lasted_s

    delivery, lasted_s = asyncio.run(down_for_days())
    assert delivery.settled == [("a", "ops", Settled.EXPIRED), ("b", "ops", Settled.DELIVERED)]
    assert EXPIRES_S - BACKOFF_MAX_S < lasted_s <= EXPIRES_S


def test_an_alert_that_waited_for_days_with_the_daemon_off_is_still_tried_once() -> None:
    async def late() -> Delivery:
        delivery = Delivery({"ops": receiver(Script(OK))})
        delivery.outbox.store(alert("a"), "ops", delivery.now_s - 2 * EXPIRES_S)
        async with delivery.running():
            await delivery.until(lambda: delivery.settled != [])
        return delivery

    assert asyncio.run(late()).settled == [("a", "ops", Settled.DELIVERED)]


def test_a_row_whose_receiver_is_not_configured_waits_for_it() -> None:
    async def unknown() -> Delivery:
        script = Script(OK)
        async with Delivery({}).running() as delivery:
            delivery.store(alert("a"))
            await delivery.until(lambda: delivery.outbox.errors != [])
            delivery.receivers["ops"] = receiver(script)
            delivery.advance(1.0)
            await delivery.until(lambda: delivery.settled != [])
        return delivery

    delivery = asyncio.run(unknown())
    assert delivery.outbox.errors == ["no receiver named 'ops' is configured"]
    assert delivery.settled == [("a", "ops", Settled.DELIVERED)]


def test_a_notifier_that_raises_is_a_failed_try_and_its_words_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    async def raises() -> Delivery:
        async with Delivery(
            {"ops": receiver(Script(RuntimeError("https://example.org/T0K3N"), OK))}
        ).running() as delivery:
            delivery.store(alert("a"))
            await delivery.until(lambda: delivery.outbox.errors != [])
            delivery.advance(1.0)
            await delivery.until(lambda: delivery.settled != [])
        return delivery

    delivery = asyncio.run(raises())
    assert delivery.outbox.errors == ["notifier 'scripted' raised RuntimeError"]
    assert "T0K3N" not in caplog.text
    assert delivery.settled == [("a", "ops", Settled.DELIVERED)]


def test_a_receiver_of_an_unknown_kind_is_refused_and_the_kinds_are_named() -> None:
    async def unknown_kind() -> Delivery:
        async with Delivery({"ops": Receiver(name="ops", kind="pigeon", config=None)}).running() as delivery:
            delivery.store(alert("a"))
            await delivery.until(lambda: delivery.settled != [])
        return delivery

    assert asyncio.run(unknown_kind()).settled == [("a", "ops", Settled.REFUSED)]


def test_cancelling_leaves_what_is_in_flight_for_the_next_process() -> None:
    async def cancelled() -> Delivery:
        script = Script(OK)
        script.gate.clear()
        async with Delivery({"ops": receiver(script)}).running() as delivery:
            delivery.store(alert("a"))
            await script.called.wait()
        return delivery

    delivery = asyncio.run(cancelled())
    assert delivery.settled == []
    assert [row.alert.id for row in delivery.outbox.due(delivery.now_s)] == ["a"]
