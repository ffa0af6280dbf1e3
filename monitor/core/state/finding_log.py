"""What detectors have found, and which findings continue. Pure.

A streak is one detector that keeps finding the same of one rank: however long it lasts, it is one new finding.
"""

from __future__ import annotations

from monitor.core.model import Family, Finding, Severity
from monitor.core.state.anomalies import note
from monitor.core.state.run import RunState, Streak, TrainingState

STREAK_GAP_BATCHES = 300  # as long without a finding ends a streak; detectors may look every 256 batches only
FINDINGS_MAX = 200  # of a training, for the report; the counters hold the rest
STREAKS_MAX = 4096
_ORDER = list(Severity)


def log_findings(training: TrainingState, findings: list[Finding]) -> list[Finding]:
    """Remember the findings of one input; those that are new: the first of a streak, or worse than those before it."""
    for finding in findings:
        note(training, finding)
    new = [finding for finding in findings if _new(training, finding)]
    for finding in new:
        key = f"{finding.detector}/{finding.severity}"
        training.totals.findings[key] = training.totals.findings.get(key, 0) + 1
    training.findings.extend(new)
    del training.findings[:-FINDINGS_MAX]
    return new


def _new(training: TrainingState, finding: Finding) -> bool:
    streaks, key, at = training.streaks, f"{finding.detector}/{finding.rank}", finding.at
    streak = streaks.get(key)
    if streak is None or streak.generation != at.generation or at.count - streak.count > STREAK_GAP_BATCHES:
        if len(streaks) >= STREAKS_MAX:
            streaks.clear()
        streaks[key] = Streak(at.generation, at.count, at.count, finding.severity)
        return True
    streak.count = at.count
    worse = _ORDER.index(finding.severity) > _ORDER.index(streak.severity)
    if worse:
        streak.severity = finding.severity
    return worse


def going_on(run: RunState, training: TrainingState) -> list[Finding]:
    """Findings that continue now: the last new one of each streak that has not ended, the worst first."""
    if run.ended:
        return []
    last = {f"{finding.detector}/{finding.rank}": finding for finding in training.findings}
    going = [
        last[key] for key, streak in training.streaks.items() if key in last and _lasts(training, streak, last[key])
    ]
    return sorted(going, key=lambda finding: -_ORDER.index(finding.severity))


def _lasts(training: TrainingState, streak: Streak, finding: Finding) -> bool:
    rank, at = training.ranks.get(finding.rank), finding.at
    if rank is None or streak.generation != training.generation:
        return False
    of_this_streak = at.generation == streak.generation and at.count >= streak.began
    if finding.family == Family.HANG and rank.counts.batches > streak.count:
        return False  # a batch came
    return of_this_streak and rank.counts.batches - streak.count <= STREAK_GAP_BATCHES
