"""What a detector sees of one rank: it reads, and can't change anything."""

from __future__ import annotations

import msgspec

from monitor.core.model import Finding, Position, Severity
from monitor.core.state.fold import Folded
from monitor.core.state.hardware import HardwareState
from monitor.core.state.learned import Learned
from monitor.core.state.rows import CheckpointState
from monitor.core.state.run import RankState, TrainingState
from monitor.core.state.signals import Signal
from monitor.core.state.stats import first_within, within
from trainer_hooks.wire.messages import BatchEnded, Event


class RunView(msgspec.Struct, frozen=True):
    """One rank of one training, after an input was folded in. None: the input is not of that kind."""

    _rank: RankState
    training: TrainingState
    hardware: HardwareState
    at: Position
    now_s: float
    nonfinite: int = 0  # Nonfinite bits of this batch
    cured: bool = False
    batch: BatchEnded | None = None
    event: Event | None = None
    examined: CheckpointState | None = None  # a checkpoint whose verdict has just arrived
    deadline_s: float | None = None  # of the run; Unix time
    order_pending: bool = False  # an order to this training is not answered yet
    answered: int = 0  # non-finite batches up to this count have been acted upon

    @property
    def rank(self) -> int:
        return self._rank.rank

    @property
    def uncured(self) -> int:
        """Batches that left non-finite parameters or buffers behind, since the last state known to be clean."""
        return self._rank.learned.uncured

    def nonfinite_within(self, window_batches: int) -> int:
        """Non-finite batches among the last `window_batches` that nothing was done about yet."""
        return within(self._rank.learned.nonfinite, self.at.count, self._window(window_batches))

    def first_nonfinite_within(self, window_batches: int) -> Position:
        """The first of them; this batch where there is none (its flag and its counter may disagree)."""
        if not self.nonfinite_within(window_batches):
            return self.at
        return first_within(self._rank.learned.nonfinite, self.at.count, self._window(window_batches))

    def _window(self, window_batches: int) -> int:
        return min(window_batches, max(self.at.count - self.answered, 0))

    @property
    def one_batch_an_epoch(self) -> bool:
        """True where a row stands for a whole epoch, as in the logs of many trainers."""
        return self.batch is not None and self.batch.batches_per_epoch == 1

    @property
    def learned(self) -> Learned:
        """Every statistic of this rank."""
        return self._rank.learned

    def signal(self, name: str) -> Signal | None:
        """Level and spread of a signal; None: it never had a finite value."""
        found = self._rank.learned.signals.get(name)
        return found if found and found.seen else None

    def before(self, batches: int) -> Position:
        """The batch this many before the present one, by its count; in the epoch where it was, if all are as long."""
        back = max(min(batches, self.at.count - 1), 0)
        epoch, batch = self.at.epoch, self.at.batch - back
        an_epoch = self.batch.batches_per_epoch if self.batch else 0
        if batch < 0 < an_epoch and (epoch - 1) * an_epoch + batch >= 0:
            epoch, batch = epoch + batch // an_epoch, batch % an_epoch
        return Position(self.at.generation, epoch, max(batch, 0), max(self.at.count - back, 0))

    def kept_checkpoints(self) -> list[CheckpointState]:
        """Those whose copy is still there, oldest first."""
        return [c for c in self.training.checkpoints if not self.training.dropped(c)]

    def finding(
        self,
        severity: Severity,
        *,
        rank: RankState | None = None,
        at: Position | None = None,
        since: Position,
        signal: str,
        value: float,
        limit: float,
        summary: str,
        names_rank: bool = False,
    ) -> Finding:
        """A finding at this batch, or at another rank's last one. The core adds the detector's name and family.

        `summary` gets the rank added where it is not rank 0, and `names_rank` does not say that it names it.
        """
        place = at or (rank.last.position if rank and rank.last else self.at)
        number = rank.rank if rank else self.rank
        text = f"rank {number}: {summary}" if self.rank and not names_rank else summary
        return Finding("", "", severity, number, place, since, signal, value, limit, text)


def view_of(folded: Folded, now_s: float) -> RunView | None:
    """What detectors see after an input: of its rank, else of rank 0; None: the training has no rank yet."""
    training = folded.training
    rank = folded.rank or training.ranks.get(0)
    if rank is None:
        return None
    batch, ledger = folded.batch, training.ledger
    return RunView(
        rank,
        training,
        folded.run.hardware,
        rank.last.position if rank.last else Position(training.generation, 1, 0, 0),
        now_s,
        batch.nonfinite if batch else 0,
        batch.cured if batch else False,
        batch,
        folded.event,
        None if folded.event else folded.checkpoint,
        folded.run.spec.deadline_s,
        ledger.pending is not None,
        ledger.answered.get(rank.rank, 0),
    )
