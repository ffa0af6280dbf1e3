"""The loss against the rows just before it."""

from __future__ import annotations

import math

import msgspec
import pytest

from monitor.core.state.loss_level import OLDER, RECENT, LossLevel, observe_level


def _after(*losses: float | None) -> LossLevel:
    level = LossLevel()
    for loss in losses:
        observe_level(level, loss)
    return level


def test_three_high_rows_are_held_and_one_is_a_jump_only() -> None:
    steady = [1.0] * 40
    one, three = _after(*steady, 4.0), _after(*steady, 4.0, 4.0, 4.0)
    assert one.jump == pytest.approx(math.log(4))
    assert one.held == 0
    assert three.held == pytest.approx(math.log(4))


def test_eight_rows_a_quarter_higher_are_a_shift() -> None:
    assert _after(*[1.0] * 40, *[1.25] * 8).shift == pytest.approx(math.log(1.25))


def test_a_falling_loss_is_not_above_its_level() -> None:
    level = _after(*[math.exp(-row / 50) for row in range(200)])
    assert level.held < 0
    assert level.shift < 0
    assert level.jump < 0


@pytest.mark.parametrize("loss", [None, math.nan, math.inf, -1.0])
def test_a_row_without_a_usable_loss_changes_nothing(loss: float | None) -> None:
    assert _after(*[1.0] * 40, loss) == _after(*[1.0] * 40)


def test_the_state_keeps_its_size_and_survives_a_snapshot() -> None:
    level = _after(*[1.0 + row % 7 / 10 for row in range(5000)])
    assert len(level.rows) == RECENT + OLDER
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(level), type=LossLevel) == level
