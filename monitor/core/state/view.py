"""What a detector may see of one rank of a run: reads, no way to change anything."""

from __future__ import annotations

import msgspec

from monitor.core.model import Finding, Position, Severity
from monitor.core.state.run import CheckpointState, Learned, RankState, RunState
from monitor.core.state.signals import Signal
from monitor.core.state.stats import first_within, within
from trainer_hooks.wire.messages import BatchEnded, Event


class RunView(msgspec.Struct, frozen=True):
    """One rank, right after a batch or an event was folded in, or at a tick. None: it is not that moment."""

    _rank: RankState
    at: Position
    nonfinite: int  # Nonfinite bits of this batch
    cured: bool
    batch: BatchEnded | None = None
    event: Event | None = None
    run_state: RunState | None = None  # to read: what no single rank knows
    now_s: float = 0.0
    examined: CheckpointState | None = None  # a checkpoint whose verdict has just arrived

    @property
    def rank(self) -> int:
        return self._rank.rank

    @property
    def uncured(self) -> int:
        """Batches that left non-finite parameters or buffers behind, since the last state known to be clean."""
        return self._rank.learned.uncured

    def nonfinite_within(self, window_batches: int) -> int:
        """Non-finite batches among the last `window_batches`."""
        return within(self._rank.learned.nonfinite, self.at.count, window_batches)

    def first_nonfinite_within(self, window_batches: int) -> Position:
        """The first of them; this batch where there is none (its flag and its counter may disagree)."""
        if not self.nonfinite_within(window_batches):
            return self.at
        return first_within(self._rank.learned.nonfinite, self.at.count, window_batches)

    @property
    def learned(self) -> Learned:
        """Every statistic of this rank."""
        return self._rank.learned

    def signal(self, name: str) -> Signal | None:
        """Level and spread of a signal; None: it never had a finite value."""
        found = self._rank.learned.signals.get(name)
        return found if found and found.seen else None

    def before(self, batches: int) -> Position:
        """The batch this many before the present one, by its count; within the epoch where it still was there."""
        back = min(batches, self.at.count - 1)
        return Position(self.at.generation, self.at.epoch, max(self.at.batch - back, 0), max(self.at.count - back, 0))

    def finding(
        self,
        detector: str,
        family: str,
        severity: Severity,
        *,
        since: Position,
        signal: str,
        value: float,
        limit: float,
        summary: str,
    ) -> Finding:
        """A finding at this batch."""
        return Finding(detector, family, severity, self.rank, self.at, since, signal, value, limit, summary)
