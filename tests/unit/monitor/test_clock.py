"""A clock that jumps, and a machine that sleeps, harm no stamp, deadline, order or alert."""

from __future__ import annotations

import random

import pytest

from alerts.outbox import OutboxRow
from monitor.core.model import Tick
from monitor.daemon.clock import PLAUSIBLE_S, STABLE_S, SystemClock, since_boot_s
from monitor.history.outbox import DurableOutbox
from tests.harness.alerts import alert
from tests.harness.simulation import Simulation

NOW_S = PLAUSIBLE_S + 1e7
DAY_S = 86_400.0


class Machine:
    """A wall clock that can be set, and a time since boot that can't."""

    def __init__(self, wall_s: float = NOW_S) -> None:
        self.wall_s, self.boot_s = wall_s, 100.0

    def clock(self, floor_s: float = 0.0) -> SystemClock:
        return SystemClock(floor_s, lambda: self.wall_s, lambda: self.boot_s)

    def passes(self, seconds: float) -> None:
        self.wall_s += seconds
        self.boot_s += seconds


@pytest.mark.parametrize("jump_s", [30 * DAY_S, -30 * DAY_S, 3600.0, -3600.0])
def test_a_jump_ahead_and_back_within_minutes_is_not_followed(jump_s: float) -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall_s += jump_s
    for _ in range(5):
        machine.passes(60.0)
        assert clock.follow() == 0.0
    machine.wall_s -= jump_s
    machine.passes(STABLE_S)
    assert clock.follow() == 0.0
    assert clock.now_s() == NOW_S + 300.0 + STABLE_S


@pytest.mark.parametrize("jump_s", [30 * DAY_S, -30 * DAY_S])
def test_a_wall_clock_that_stays_where_it_was_set_is_right(jump_s: float) -> None:
    """A machine without a battery asks for the time minutes after its start."""
    machine = Machine(NOW_S)
    clock = machine.clock()
    machine.wall_s += jump_s
    clock.follow()
    machine.passes(STABLE_S)
    assert clock.follow() == pytest.approx(jump_s)
    assert clock.now_s() == pytest.approx(NOW_S + jump_s + STABLE_S)
    assert clock.follow() == 0.0


def test_a_wall_clock_of_1970_is_never_followed_and_the_history_says_the_least_time() -> None:
    machine = Machine(wall_s=60.0)
    clock = machine.clock(floor_s=NOW_S)
    clock.follow()
    machine.passes(2 * STABLE_S)
    assert clock.follow() == 0.0
    assert clock.now_s() == NOW_S + 2 * STABLE_S


def test_a_history_from_a_time_when_the_clock_was_a_month_ahead_does_not_hold_the_clock_there() -> None:
    clock = Machine().clock(floor_s=NOW_S + 30 * DAY_S)
    assert clock.now_s() == NOW_S
    assert clock.stepped_s == -30 * DAY_S
    assert Machine().clock(floor_s=NOW_S + 5.0).now_s() == NOW_S + 5.0, "seconds are waited out"


def test_the_time_of_a_suspended_machine_counts() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.passes(8 * 3600.0)  # as CLOCK_BOOTTIME has it
    assert clock.now_s() == NOW_S + 8 * 3600.0
    assert since_boot_s() > 0.0


def test_an_alert_that_waits_is_neither_late_nor_expired_by_a_step_of_the_clock() -> None:
    row = OutboxRow(id=1, receiver="ops", lane="r", alert=alert("r/1"), attempts=2, created_s=NOW_S, next_s=NOW_S + 4)
    outbox = DurableOutbox([row], [], 1, lambda _: None)
    outbox.clock_stepped(-30 * DAY_S)
    assert outbox.due(NOW_S - 30 * DAY_S + 3) == []
    (due,) = outbox.due(NOW_S - 30 * DAY_S + 4)
    assert due.created_s == NOW_S - 30 * DAY_S


def trained(batches: int = 200) -> Simulation:
    training = Simulation()
    draw = random.Random(1)
    for number in range(batches):
        training.batch(draw.uniform(0.9, 1.1), 1.0)
        if number % 5 == 0:
            training.tick(0.0)
    return training


def test_a_night_in_which_the_machine_slept_is_no_hang_and_does_not_count_as_pace() -> None:
    asleep_s = 8 * 3600.0
    slept, awake = trained(), trained()
    slept.now_s += asleep_s
    slept.feed(Tick(asleep_s))
    for training in (slept, awake):
        for _ in range(20):
            training.tick(1.0)
    assert not slept.found
    first = slept.run.training.epochs[-1].started_s - awake.run.training.epochs[-1].started_s
    assert first == pytest.approx(asleep_s), "the pace leaves the night out"
    for _ in range(30):
        slept.tick(1.0)
    assert slept.found == {"hang/warning": 1}, "a training that did not wake up is still found"


def test_a_clock_put_right_by_a_month_leaves_no_silence_that_never_ends() -> None:
    training = trained()
    training.now_s -= 30 * DAY_S
    for _ in range(60):
        training.tick(1.0)
    assert training.found == {"hang/warning": 1}
    assert training.run.opened_s <= training.core.fleet.now_s
