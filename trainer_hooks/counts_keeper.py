"""Keeps the last counters of a training on disk: at its end, and now and then while no daemon takes them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from trainer_hooks.wire.last_counts import LastCounts, write_last_counts
from trainer_hooks.wire.messages import BatchEnded, Record, Sender, TrainingEnded
from trainer_hooks.wire.runfolder import RunFolder

KEEP_S = 5.0  # without a daemon: what a process that is killed with SIGKILL may lose


class CountsKeeper:
    """Used by the sender's thread; `ended` may be called from any other."""

    def __init__(self, folder: RunFolder, sender: Sender) -> None:
        self._folder, self._sender = folder, sender
        self._sent: BatchEnded | None = None  # the last batch that left the ring
        self._end: TrainingEnded | None = None
        self._written: tuple[int, str] = (0, "")
        self._next_s = 0.0
        self._end_kept = threading.Event()

    @property
    def has_ended(self) -> bool:
        """True once the training has reported its end."""
        return self._end is not None

    def ended(self, end: TrainingEnded) -> None:
        """The training reports its end. The last report counts."""
        self._end = end

    def sent(self, records: Sequence[Record]) -> None:
        """These have left the ring."""
        self._sent = next((each for each in reversed(records) if isinstance(each, BatchEnded)), self._sent)

    def keep(self, newest: Callable[[], BatchEnded | None], now_s: float, *, alone: bool, last: bool = False) -> None:
        """Write where it is due. `newest` gives the newest batch of the ring. Raises OSError.

        `alone`: no daemon is there. `last`: the process or the training ends.
        """
        end = self._end
        due = last or (end is not None and self._written[1] != end.how) or (alone and now_s >= self._next_s)
        if not due:
            return
        self._next_s = now_s + KEEP_S
        batch = newest() or self._sent
        state = (batch.counts.batches if batch else 0, end.how if end else "")
        if state != self._written:
            write_last_counts(self._folder, self._document(batch, end))
            self._written = state
        if end is not None:
            self._end_kept.set()

    def wait_for_end(self, timeout_s: float) -> bool:
        """True: the end of the training is on disk. Waits no longer than `timeout_s`."""
        return self._end_kept.wait(timeout_s)

    def _document(self, batch: BatchEnded | None, end: TrainingEnded | None) -> LastCounts:
        s, how, detail = self._sender, end.how if end else "", end.detail if end else ""
        if batch is None:
            return LastCounts(
                training=s.training, generation=s.generation, rank=s.rank, wall_s=end.wall_s if end else 0.0,
                sent_s=0.0, how=how, detail=detail,
            )  # fmt: skip
        return LastCounts(
            training=s.training, generation=s.generation, rank=s.rank, wall_s=batch.wall_s, sent_s=batch.sent_s,
            epoch=batch.epoch, batch=batch.batch, batches_per_epoch=batch.batches_per_epoch, counts=batch.counts,
            how=how, detail=detail,
        )  # fmt: skip
