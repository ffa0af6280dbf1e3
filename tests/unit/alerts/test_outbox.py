"""What every outbox does: the one in memory that tests use, and the one that survives the daemon."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from alerts.alert import Alert
from alerts.outbox import Outbox, Settled
from monitor.history.outbox import DurableOutbox
from tests.harness.alerts import alert
from tests.harness.outbox import MemoryOutbox

Store = Callable[[Alert, str, float], int]


def _in_memory() -> tuple[Outbox, Store]:
    outbox = MemoryOutbox()
    return outbox, outbox.store


def _durable() -> tuple[Outbox, Store]:
    outbox = DurableOutbox([], [], 0, lambda change: None)

    def store(stored: Alert, receiver: str, now_s: float) -> int:
        rows = outbox.rows_for(stored, stored.labels["run"], [receiver], now_s)
        outbox.add(rows)
        return rows[0].id

    return outbox, store


@pytest.fixture(params=[_in_memory, _durable])
def made(request: pytest.FixtureRequest) -> tuple[Outbox, Store]:
    pair: tuple[Outbox, Store] = request.param()
    return pair


def test_only_the_oldest_unsettled_row_of_a_lane_and_receiver_is_due(made: tuple[Outbox, Store]) -> None:
    outbox, store = made
    first = store(alert("r/1", run="r"), "ops", 0.0)
    store(alert("r/2", run="r"), "ops", 0.0)
    other_receiver = store(alert("r/3", run="r"), "boss", 0.0)
    other_run = store(alert("s/1", run="s"), "ops", 0.0)
    assert {row.id for row in outbox.due(0.0)} == {first, other_receiver, other_run}


def test_a_row_behind_one_that_was_put_off_waits_with_it(made: tuple[Outbox, Store]) -> None:
    outbox, store = made
    first = store(alert("r/1", run="r"), "ops", 0.0)
    store(alert("r/2", run="r"), "ops", 0.0)
    outbox.reschedule(first, 1, 10.0, "HTTP 503")
    assert outbox.due(9.9) == []
    (row,) = outbox.due(10.0)
    assert (row.id, row.attempts, row.next_s, row.created_s) == (first, 1, 10.0, 0.0)


def test_a_settled_row_lets_the_next_one_go_and_stays_settled(made: tuple[Outbox, Store]) -> None:
    outbox, store = made
    first = store(alert("r/1", run="r"), "ops", 0.0)
    second = store(alert("r/2", run="r"), "ops", 0.0)
    outbox.settle(first, Settled.DELIVERED, 1.0)
    outbox.reschedule(first, 5, 99.0, "too late")
    outbox.settle(first, Settled.EXPIRED, 2.0)
    assert [row.id for row in outbox.due(1.0)] == [second]


def test_the_row_that_waited_longest_comes_first(made: tuple[Outbox, Store]) -> None:
    outbox, store = made
    late = store(alert("r/1", run="r"), "ops", 5.0)
    early = store(alert("s/1", run="s"), "ops", 1.0)
    assert [row.id for row in outbox.due(9.0)] == [early, late]


def test_the_alert_comes_back_as_it_was_stored(made: tuple[Outbox, Store]) -> None:
    outbox, store = made
    told = alert("r/1", run="r")
    store(told, "ops", 0.0)
    assert outbox.due(0.0)[0].alert == told
