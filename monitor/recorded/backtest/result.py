"""The result of a backtest: of one run, and of all of them together. Values only."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from monitor.core.model import Severity

LEVELS = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


class Fired(msgspec.Struct, frozen=True):
    """One alarm: what a detector found, or what the log itself shows ("log: ...")."""

    severity: Severity
    source: str  # the detector's name, or "log: " and the kind of event
    row: int  # of the training rows, from 0
    step: int  # as the log has it
    epoch: int
    line: int  # of the file
    since_row: int  # onset
    summary: str  # the evidence in one sentence


class IncidentDecision(msgspec.Struct, frozen=True):
    """What the policy would have done when an incident opened, and what that costs or saves."""

    row: int
    step: int
    action: str  # ActionKind
    reason: str
    rows_after: int  # rows that the training went on for: wasted if it was lost, saved by acting
    onset_row: int = 0
    redone_rows: int = 0  # from the checkpoint it goes back to up to here: thrown away and trained again


class Result(msgspec.Struct, frozen=True):
    """One backtested run."""

    path: str
    kind: str
    granularity: str
    rows: int
    generations: int
    nonfinite_rows: int
    fired: list[Fired]  # every alarm, and of the infos the first
    decisions: list[IncidentDecision]
    truncated: str
    defects: int = 0  # inputs that raised in the core, and detectors that were switched off: our own faults
    infos_left_out: int = 0  # infos that fired and are not in `fired`

    @property
    def worst(self) -> Severity | None:
        """The highest severity that fired; None: nothing did."""
        return max((f.severity for f in self.fired), key=LEVELS.__getitem__, default=None)


class Unread(msgspec.Struct, frozen=True):
    """A file, or a run in it, that could not be backtested."""

    path: str
    text: str  # a sentence with the path, what is wrong, and the remedy


class BacktestTotals(msgspec.Struct, frozen=True):
    """Over all runs. An alarm is a warning or worse."""

    runs: int
    rows: int
    runs_warned: int
    runs_critical: int
    alarms: int
    critical: int
    alarms_per_million_rows: float
    critical_per_million_rows: float


def totals(results: Iterable[Result]) -> BacktestTotals:
    """Sums over runs."""
    results = list(results)
    rows = sum(result.rows for result in results)
    alarms = sum(f.severity is not Severity.INFO for result in results for f in result.fired)
    critical = sum(f.severity is Severity.CRITICAL for result in results for f in result.fired)
    million = max(rows, 1) / 1e6
    return BacktestTotals(
        runs=len(results),
        rows=rows,
        runs_warned=sum(r.worst in (Severity.WARNING, Severity.CRITICAL) for r in results),
        runs_critical=sum(r.worst is Severity.CRITICAL for r in results),
        alarms=alarms,
        critical=critical,
        alarms_per_million_rows=alarms / million,
        critical_per_million_rows=critical / million,
    )
