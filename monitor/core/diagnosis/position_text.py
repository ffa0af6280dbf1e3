"""Where a batch is and how far from another, as a diagnosis writes it into its sentences. Pure."""

from __future__ import annotations

from monitor.core.format import batch_at, batches, rough_percent
from monitor.core.model import Position


def where(position: Position) -> str:
    """As people say it: epoch from 1, batch from 0."""
    return batch_at(position.epoch, position.batch)


def distance(count: int, batches_per_epoch: int) -> str:
    """So many batches, as a share of an epoch: only beside that do they say whether it is far."""
    if batches_per_epoch <= 0 or count <= 0:
        return batches(count)
    epochs = count / batches_per_epoch
    share = f"{rough_percent(epochs)} of an epoch" if epochs < 1.0 else f"{epochs:.3g} epochs"
    return f"{'one epoch' if epochs == 1.0 else share} ({batches(count)})"


def before_onset(count: int, batches_per_epoch: int) -> str:
    """How long before the onset something was."""
    return f"{distance(count, batches_per_epoch)} before the onset" if count > 0 else "at the onset"
