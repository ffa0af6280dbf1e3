"""Finds the row of an epoch. Pure."""

from __future__ import annotations

from monitor.core.model import Position
from monitor.core.state.rows import EpochRow
from monitor.core.state.run import TrainingState


def row_of(training: TrainingState, position: Position) -> EpochRow | None:
    """The last pass through the epoch of `position` in its generation; None: no batch of it was recorded."""
    same = (r for r in reversed(training.epochs) if (r.generation, r.epoch) == (position.generation, position.epoch))
    return next(same, None)
