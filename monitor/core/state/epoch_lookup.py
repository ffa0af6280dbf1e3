"""Finds the row of an epoch. Pure."""

from __future__ import annotations

from monitor.core.model import Position
from monitor.core.state.run import EpochRow, RunState


def row_of(run: RunState, position: Position) -> EpochRow | None:
    """The last pass through the epoch of `position` in its generation; None: no batch of it was recorded."""
    same = (r for r in reversed(run.epochs) if (r.generation, r.epoch) == (position.generation, position.epoch))
    return next(same, None)
