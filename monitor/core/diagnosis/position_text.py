"""Where a batch is, as a diagnosis writes it into its sentences. Pure."""

from __future__ import annotations

from monitor.core.format import batch_at
from monitor.core.model import Position


def where(position: Position) -> str:
    """As people say it: epoch from 1, batch from 0."""
    return batch_at(position.epoch, position.batch)
