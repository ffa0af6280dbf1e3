"""Recorded runs through the real core, in virtual time: what would have fired, and what the policy had done. Pure."""

from __future__ import annotations

from monitor.backtest import imported, recorded
from monitor.backtest.replay import replay
from monitor.backtest.result import LEVELS, Decision, Fired, Result, Totals, totals
from monitor.importers.rows import ImportedRun, Recording
from monitor.policy.settings import Policy
from monitor.state.journal import Journal

__all__ = ["LEVELS", "Decision", "Fired", "Result", "Totals", "backtest", "totals"]


def backtest(run: ImportedRun | Recording | Journal, policy: Policy) -> Result:
    """What the core, under `policy`, would have said of a recorded run."""
    if isinstance(run, Journal):
        return replay(recorded.journal_source(run, policy), policy)
    if isinstance(run, Recording):
        return replay(recorded.source_of(run, policy), policy)
    return replay(imported.source_of(run, policy), policy)
