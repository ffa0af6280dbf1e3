"""What a detector sees of a run."""

from __future__ import annotations

import pytest

from monitor.core.model import Position
from monitor.core.state.hardware import HardwareState
from monitor.core.state.run import RankState, TrainingState
from monitor.core.state.view import RunView


@pytest.mark.parametrize(
    ("back", "batch", "count"),
    [(0, 9, 109), (1, 8, 108), (9, 0, 100), (20, 0, 89), (108, 0, 1), (500, 0, 1)],
)
def test_a_batch_is_dated_back_within_its_epoch_and_never_before_the_first(back: int, batch: int, count: int) -> None:
    view = RunView(RankState(0), TrainingState(1), HardwareState(), Position(2, 3, 9, 109), 0.0)
    assert view.before(back) == Position(2, 3, batch, count)
