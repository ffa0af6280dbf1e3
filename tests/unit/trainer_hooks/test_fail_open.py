from __future__ import annotations

import logging

import pytest

from tests.harness.records import order
from trainer_hooks.fail_open import FailOpen
from trainer_hooks.orders import LeaveTraining
from trainer_hooks.wire.messages import HookTrouble


def fail() -> None:
    raise ValueError("broken hook")


def test_a_failing_hook_is_told_logged_once_and_switched_off_after_three_errors(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[HookTrouble] = []
    fail_open = FailOpen(told.append)
    with caplog.at_level(logging.WARNING, "trainwarden"):
        assert [fail_open.run("batch", fail) for _ in range(5)] == [None] * 5
    assert fail_open.errors == 3
    assert [trouble.switched_off for trouble in told] == [False, False, True]
    assert "ValueError: broken hook" in told[0].error
    assert len(caplog.records) == 1


def test_one_hook_switched_off_leaves_the_others_on() -> None:
    fail_open = FailOpen(lambda trouble: None, errors_max=1)
    fail_open.run("batch", fail)
    assert fail_open.run("epoch", lambda a, b: a + b, 1, b=2) == 3


@pytest.mark.parametrize("leaving", [KeyboardInterrupt(), SystemExit(3), LeaveTraining(order())])
def test_what_is_meant_to_end_training_passes(leaving: BaseException) -> None:
    def body() -> None:
        raise leaving

    fail_open = FailOpen(lambda trouble: None)
    with pytest.raises(type(leaving)):
        fail_open.run("batch", body)
    assert fail_open.errors == 0


def test_trouble_that_can_not_be_told_stays_inside_too() -> None:
    def tell(trouble: HookTrouble) -> None:
        raise OSError("no room")

    fail_open = FailOpen(tell)
    assert fail_open.run("batch", fail) is None
    assert fail_open.errors == 1
