"""What one point of the search makes of labelled runs, in numbers that can be compared. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping

import msgspec

from monitor.core.model import Severity
from monitor.recorded.backtest.labelled_runs import HEALTHY, Label, delay_rows, warned
from monitor.recorded.backtest.result import Result


class RunAlarms(msgspec.Struct, frozen=True):
    """The alarms of one run."""

    warned: bool  # a warning or worse fired
    critical: bool  # a critical one did
    delay_rows: int | None = None  # from the onset to the first alarm at or after it

    def __or__(self, other: RunAlarms) -> RunAlarms:
        """The alarms of both sets of detectors together."""
        delays = [seen.delay_rows for seen in (self, other) if seen.delay_rows is not None]
        return RunAlarms(self.warned or other.warned, self.critical or other.critical, min(delays, default=None))


class Aim(msgspec.Struct, frozen=True):
    """The aim: the most bad runs with a warning, with at most these shares of false alarms on healthy ones."""

    healthy_warned: float  # share
    healthy_critical: float


class Counted(msgspec.Struct, frozen=True):
    """Labelled runs, counted."""

    bad: int = 0
    bad_warned: int = 0
    healthy: int = 0
    healthy_warned: int = 0
    healthy_critical: int = 0
    delay_median_rows: float | None = None

    @property
    def recall(self) -> float:
        return self.bad_warned / self.bad if self.bad else 0.0

    @property
    def warned_share(self) -> float:
        """Of the healthy runs."""
        return self.healthy_warned / self.healthy if self.healthy else 0.0

    @property
    def critical_share(self) -> float:
        return self.healthy_critical / self.healthy if self.healthy else 0.0

    def worth(self, aim: Aim) -> tuple[float, ...]:
        """Larger is better: within the aim first, then recall, then fewer false alarms, then less delay."""
        excess = max(self.warned_share - aim.healthy_warned, 0.0) + max(self.critical_share - aim.healthy_critical, 0.0)
        delay = self.delay_median_rows if self.delay_median_rows is not None else 1e9
        return (-excess, self.bad_warned, -self.healthy_critical, -self.healthy_warned, -delay)


def seen_of(label: Label, result: Result) -> RunAlarms:
    """The alarms of a labelled run in a backtest."""
    return RunAlarms(warned(result), result.worst is Severity.CRITICAL, delay_rows(label, result))


def counted(labels: Mapping[str, Label], seen: Mapping[str, RunAlarms], runs: Iterable[str]) -> Counted:
    """The counts over some of the runs; those that are neither healthy nor bad count for nothing."""
    pairs = [(labels[run], seen[run]) for run in runs if run in seen]
    bad = [one for label, one in pairs if label.bad]
    healthy = [one for label, one in pairs if label.label == HEALTHY]
    delays = [one.delay_rows for one in bad if one.delay_rows is not None]
    return Counted(
        bad=len(bad),
        bad_warned=sum(one.warned for one in bad),
        healthy=len(healthy),
        healthy_warned=sum(one.warned for one in healthy),
        healthy_critical=sum(one.critical for one in healthy),
        delay_median_rows=statistics.median(delays) if delays else None,
    )
