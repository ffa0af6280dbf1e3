"""Recorded runs through the real core, in virtual time: what would have fired, and what the policy would do. Pure."""

from __future__ import annotations

from monitor.core.policy.settings import Policy
from monitor.core.state.journal import Journal
from monitor.recorded.backtest import imported, own_runs
from monitor.recorded.backtest.replay import replay
from monitor.recorded.backtest.result import LEVELS, BacktestTotals, Fired, IncidentDecision, Result, Unread, totals
from monitor.recorded.importers.imported_run import ImportedRun, Recording

__all__ = ["LEVELS", "BacktestTotals", "Fired", "IncidentDecision", "Result", "Unread", "backtest", "totals"]


def backtest(run: ImportedRun | Recording | Journal, policy: Policy) -> Result:
    """The alarms and decisions of the core, under `policy`, on a recorded run."""
    if isinstance(run, Journal):
        return replay(own_runs.journal_source(run, policy), policy)
    if isinstance(run, Recording):
        return replay(own_runs.source_of(run, policy), policy)
    return replay(imported.source_of(run, policy), policy)
