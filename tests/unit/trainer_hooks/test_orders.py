from __future__ import annotations

import contextlib

import pytest

from tests.harness.records import order
from trainer_hooks.orders import EXIT_CODE, ORDER_IDS_MAX, LeaveTraining, OrderInbox
from trainer_hooks.wire.messages import Sender

US = Sender("night", 1, 0, "nonce")


def test_an_order_sent_three_times_is_taken_once() -> None:
    inbox = OrderInbox(US)
    assert inbox.offer(order("o1"))
    assert list(inbox.waiting) == [order("o1")]
    assert not inbox.offer(order("o1"))
    assert not inbox.offer(order("o1"))
    assert list(inbox.waiting) == [order("o1")]
    assert inbox.refused == 0


@pytest.mark.parametrize(
    "foreign",
    [order(run="other"), order(generation=2), order(rank=1), order("../o1"), order(""), order(plan="../plan")],
)
def test_an_order_for_somebody_else_or_with_a_path_in_it_is_refused_and_counted(foreign: object) -> None:
    inbox = OrderInbox(US)
    assert not inbox.offer(foreign)  # type: ignore[arg-type]
    assert not inbox.waiting
    assert inbox.refused == 1


def test_a_refused_id_does_not_spoil_the_real_order_with_that_id() -> None:
    inbox = OrderInbox(US)
    inbox.offer(order("o1", generation=2))
    assert inbox.offer(order("o1"))


def test_a_flood_of_orders_is_bounded() -> None:
    inbox = OrderInbox(US)
    kept = [inbox.offer(order(f"o{number}")) for number in range(ORDER_IDS_MAX + 5)]
    assert sum(kept) == ORDER_IDS_MAX
    assert inbox.refused == 5


def test_leaving_passes_what_a_user_catches_and_carries_the_exit_code() -> None:
    def train() -> None:
        raise LeaveTraining(order("o1"))

    def users_script() -> None:
        with contextlib.suppress(Exception):
            train()

    with pytest.raises(SystemExit) as caught:
        users_script()
    assert caught.value.code == EXIT_CODE
    assert isinstance(caught.value, LeaveTraining)
    assert caught.value.order.id == "o1"
