"""What one point of the search makes of labelled runs, in numbers that can be compared. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping

import msgspec

from monitor.core.model import Severity
from monitor.recorded.backtest.labelled_runs import HEALTHY, Label, delay_rows, told
from monitor.recorded.backtest.result import Result


class Seen(msgspec.Struct, frozen=True):
    """What was said of one run."""

    told: bool  # a warning or worse fired
    acted: bool  # a critical one did
    delay_rows: int | None = None  # from the onset to the first alarm at or after it

    def __or__(self, other: Seen) -> Seen:
        """What both sets of detectors say together."""
        delays = [seen.delay_rows for seen in (self, other) if seen.delay_rows is not None]
        return Seen(self.told or other.told, self.acted or other.acted, min(delays, default=None))


class Aim(msgspec.Struct, frozen=True):
    """What is looked for: the most bad runs told, while no larger share of the healthy ones is told or acted upon."""

    healthy_told: float  # share
    healthy_acted: float


class Counted(msgspec.Struct, frozen=True):
    """Labelled runs, counted."""

    bad: int = 0
    bad_told: int = 0
    healthy: int = 0
    healthy_told: int = 0
    healthy_acted: int = 0
    delay_median_rows: float | None = None

    @property
    def recall(self) -> float:
        return self.bad_told / self.bad if self.bad else 0.0

    @property
    def told_share(self) -> float:
        """Of the healthy runs."""
        return self.healthy_told / self.healthy if self.healthy else 0.0

    @property
    def acted_share(self) -> float:
        return self.healthy_acted / self.healthy if self.healthy else 0.0

    def worth(self, aim: Aim) -> tuple[float, ...]:
        """Larger is better: within the aim first, then recall, then fewer false alarms, then less delay."""
        excess = max(self.told_share - aim.healthy_told, 0.0) + max(self.acted_share - aim.healthy_acted, 0.0)
        delay = self.delay_median_rows if self.delay_median_rows is not None else 1e9
        return (-excess, self.bad_told, -self.healthy_acted, -self.healthy_told, -delay)


def seen_of(label: Label, result: Result) -> Seen:
    """What a backtest said of a labelled run."""
    return Seen(told(result), result.worst is Severity.CRITICAL, delay_rows(label, result))


def counted(labels: Mapping[str, Label], seen: Mapping[str, Seen], runs: Iterable[str]) -> Counted:
    """The counts over some of the runs; those that are neither healthy nor bad count for nothing."""
    pairs = [(labels[run], seen[run]) for run in runs if run in seen]
    bad = [one for label, one in pairs if label.bad]
    healthy = [one for label, one in pairs if label.label == HEALTHY]
    delays = [one.delay_rows for one in bad if one.delay_rows is not None]
    return Counted(
        bad=len(bad),
        bad_told=sum(one.told for one in bad),
        healthy=len(healthy),
        healthy_told=sum(one.told for one in healthy),
        healthy_acted=sum(one.acted for one in healthy),
        delay_median_rows=statistics.median(delays) if delays else None,
    )
