"""Finds the row of an epoch. Pure."""

from __future__ import annotations

from monitor.core.model import Position
from monitor.core.state.rows import EpochRow
from monitor.core.state.run import TrainingState


def row_of(training: TrainingState, position: Position) -> EpochRow | None:
    """The pass through an epoch in which `position` lies; None: no batch of it was recorded.

    One process may train an epoch several times. Where its rows do not tell, the last pass is taken.
    """
    count = 0
    for row in training.epochs:
        if row.generation == position.generation:
            count += row.batches
            if count >= position.count and row.epoch == position.epoch:
                return row
    same = (r for r in reversed(training.epochs) if (r.generation, r.epoch) == (position.generation, position.epoch))
    return next(same, None)
