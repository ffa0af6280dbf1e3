"""Which findings last: what the detectors report now. Pure."""

from __future__ import annotations

from monitor.core.model import Finding, Severity
from monitor.core.state.run import RunState, Streak

STREAK_GAP_BATCHES = 300  # as long without a finding ends a streak; detectors may look every 256 batches only
_ORDER = list(Severity)


def going_on(run: RunState) -> list[Finding]:
    """The last reported finding of each streak that has not ended, the worst first."""
    if run.ended:
        return []
    known = {f"{finding.detector}/{finding.rank}": finding for finding in run.findings}
    going = [known[key] for key, streak in run.streaks.items() if key in known and _lasts(run, streak, known[key])]
    return sorted(going, key=lambda finding: -_ORDER.index(finding.severity))


def _lasts(run: RunState, streak: Streak, finding: Finding) -> bool:
    rank, at = run.ranks.get(finding.rank), finding.at
    if rank is None or streak.generation != run.generation:
        return False
    of_this_streak = at.generation == streak.generation and at.count >= streak.began
    return of_this_streak and rank.counts.batches - streak.count <= STREAK_GAP_BATCHES
