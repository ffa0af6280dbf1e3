"""What a detector may see of one rank of a run: reads, no way to change anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from monitor.model import Finding, Position, Severity
from monitor.state.run import RankState, Statistic
from monitor.state.stats import first_within, within


@dataclass(frozen=True, slots=True)
class RunView:
    """One rank, right after a batch was folded in."""

    _rank: RankState
    at: Position
    nonfinite: int  # Nonfinite bits of this batch
    cured: bool

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

    def signal(self, name: str) -> Statistic | None:
        """Level and spread of a signal; None: it never had a finite value."""
        return self._rank.learned.signals.get(name)

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


Findings = Iterator[Finding]
