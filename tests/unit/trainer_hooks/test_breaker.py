from __future__ import annotations

import logging

import pytest

from tests.harness.records import order
from trainer_hooks.breaker import Breaker
from trainer_hooks.orders import LeaveTraining
from trainer_hooks.wire.messages import HookTrouble


def fail() -> None:
    raise ValueError("broken hook")


def test_a_failing_hook_is_told_logged_once_and_switched_off_after_three_errors(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[HookTrouble] = []
    breaker = Breaker(told.append)
    with caplog.at_level(logging.WARNING, "trainwarden"):
        assert [breaker.run("batch", fail) for _ in range(5)] == [None] * 5
    assert breaker.errors == 3
    assert [trouble.switched_off for trouble in told] == [False, False, True]
    assert "ValueError: broken hook" in told[0].error
    assert len(caplog.records) == 1


def test_one_hook_switched_off_leaves_the_others_on() -> None:
    breaker = Breaker(lambda trouble: None, errors_max=1)
    breaker.run("batch", fail)
    assert breaker.run("epoch", lambda a, b: a + b, 1, b=2) == 3


@pytest.mark.parametrize("leaving", [KeyboardInterrupt(), SystemExit(3), LeaveTraining(order())])
def test_what_is_meant_to_end_training_passes(leaving: BaseException) -> None:
    def body() -> None:
        raise leaving

    breaker = Breaker(lambda trouble: None)
    with pytest.raises(type(leaving)):
        breaker.run("batch", body)
    assert breaker.errors == 0


def test_trouble_that_can_not_be_told_stays_inside_too() -> None:
    def tell(trouble: HookTrouble) -> None:
        raise OSError("no room")

    breaker = Breaker(tell)
    assert breaker.run("batch", fail) is None
    assert breaker.errors == 1
