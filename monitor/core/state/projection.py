"""What things will cost, from a run's own pace. Pure: the policy decides by these numbers, the report shows them.

Everywhere: seconds, batches as counts, rates as shares of batches; `None`: not known yet.
"""

from __future__ import annotations

import msgspec

from monitor.core.model import Position
from monitor.core.state.rows import EpochRow
from monitor.core.state.run import TrainingState

PACE_BATCHES_MIN = 20  # fewer say more about start-up than about pace
PACE_ERROR_SHARE = 0.05  # epochs of one run differ by a few per cent: other load, warm caches, closed mosaic


class Remaining(msgspec.Struct, frozen=True):
    """What is left to train."""

    batches: int
    epochs: float


def pace_s(training: TrainingState) -> float | None:
    """Seconds a batch, validation and saving included: the wall time of all epochs by the batches trained in them.

    An unfinished epoch counts up to the last batch that arrived. None: fewer than PACE_BATCHES_MIN batches were seen.
    """
    seconds, batches = 0.0, 0
    for row in training.epochs:
        ended_s = row.ended_s if row.ended_s is not None else _last_seen_s(training, row)
        if row.batches and ended_s is not None and ended_s > row.started_s:
            seconds += ended_s - row.started_s
            batches += row.batches
    return seconds / batches if batches >= PACE_BATCHES_MIN else None


def _last_seen_s(training: TrainingState, row: EpochRow) -> float | None:
    """When the last batch of a running epoch ended; None for one that was left long ago without an end."""
    times = [rank.last_batch_s for rank in training.ranks.values() if rank.last_batch_s is not None]
    return max(times, default=None) if row.generation == training.generation and row is training.epochs[-1] else None


def failure_rate(nonfinite: int, batches: int) -> float:
    """Share of batches that were non-finite; 0 where there were none."""
    return nonfinite / batches if batches else 0.0


def projected_nonfinite(rate: float, batches_left: int) -> int:
    """How many more of `batches_left` batches will be non-finite if nothing changes."""
    return round(rate * max(0, batches_left))


def redo_batches(holds: tuple[int, int], position: Position, batches_per_epoch: int) -> int:
    """Batches to train again when going back from `position` to a state that holds so many epochs and batches."""
    epochs, extra = holds
    return max(0, (position.epoch - 1 - epochs) * batches_per_epoch + position.batch + 1 - extra)


def batches_after(holds: tuple[int, int], epochs: int, batches_per_epoch: int) -> int:
    """Batches from a state that holds so many epochs and batches to the end of a training of `epochs`."""
    held, extra = holds
    return max(0, (epochs - held) * batches_per_epoch - extra)


def remaining(position: Position, epochs: int, batches_per_epoch: int) -> Remaining:
    """What is left after `position`, of a training of `epochs` epochs."""
    batches = max(0, (epochs - position.epoch + 1) * batches_per_epoch - position.batch - 1)
    return Remaining(batches, batches / batches_per_epoch if batches_per_epoch else 0.0)


def finish_s(now_s: float, batches_left: int, pace: float, redo: int = 0, downtime_s: float = 0.0) -> float:
    """Unix time the training ends, if `redo` batches are done again and it stands still for `downtime_s` first."""
    return now_s + downtime_s + (batches_left + redo) * pace


def deadline_kept(finish: float, deadline_s: float | None) -> bool | None:
    """Whether a training that ends at `finish` is in time; None: there is no deadline."""
    return None if deadline_s is None else finish <= deadline_s


def too_close(finish: float, deadline_s: float, now_s: float) -> bool:
    """True where the projection's error is larger than what there is to spare or lack: nobody can promise either."""
    return abs(deadline_s - finish) <= PACE_ERROR_SHARE * max(0.0, finish - now_s)


def batches_left(training: TrainingState) -> int | None:
    """Batches after the last one; None: none has ended, it is over, or nobody said how many there are."""
    return None if training.position is None or training.over else batches_to_end(training)


def batches_to_end(training: TrainingState) -> int | None:
    """Batches to the end of the training; None: not known."""
    position, started = training.position, training.started
    if started is None or not started.epochs or not started.batches_per_epoch:
        return None
    if position is None:  # it is about to train its first batch
        return max(started.epochs - started.start_epoch + 1, 0) * started.batches_per_epoch
    return remaining(position, started.epochs, started.batches_per_epoch).batches
