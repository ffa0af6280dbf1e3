"""Findings that open no incident: counted, told once a streak, alerted where they are warnings. Pure.

Only a critical finding becomes an incident. The rest is for people: a streak is one detector going on about one rank,
and however long it lasts it is one entry in the report, one line on the terminal and at most one alert.
"""

from __future__ import annotations

from monitor.core.model import AlertKind, Finding, RaiseAlert, Severity
from monitor.core.policy import stack_collection
from monitor.core.policy.diagnosing import cause_of, diagnosed_again
from monitor.core.policy.incidents import on_findings as on_critical
from monitor.core.policy.transaction import Transaction
from monitor.core.state.run import RunState, Streak

STREAK_GAP_BATCHES = 300  # as long without a finding ends a streak; detectors may look every 256 batches only
ALERT_GAP_BATCHES = 1000  # no second alert of one detector sooner
FINDINGS_MAX = 200  # of a run, for the report; the counters hold the rest
STREAKS_MAX = 4096
_ORDER = list(Severity)


def on_findings(tx: Transaction, findings: list[Finding]) -> None:
    """Take the findings of one input: critical ones make an incident, every one is noted."""
    if not findings:
        return
    last = tx.run.findings[-1:]
    for finding in findings:
        _note(tx, finding)
    on_critical(tx, stack_collection.acted_on(tx, findings))
    if tx.run.incident is not None:
        diagnosed_again(tx, tx.run.incident, news=tx.run.findings[-1:] != last)


def _note(tx: Transaction, finding: Finding) -> None:
    if not _new(tx, finding):
        return
    run = tx.run
    key = f"{finding.detector}/{finding.severity}"
    run.totals.findings[key] = run.totals.findings.get(key, 0) + 1
    run.findings.append(finding)
    tx.findings.append(finding)
    del run.findings[:-FINDINGS_MAX]
    if finding.severity is Severity.CRITICAL:
        return  # the incident tells of it
    where = f"epoch {finding.at.epoch} batch {finding.at.batch}"
    tx.notify(f"{where}: {finding.summary}", finding.severity)
    if finding.severity is Severity.WARNING:
        _alert(tx, finding, where)


def _new(tx: Transaction, finding: Finding) -> bool:
    """True for the first finding of a streak, and for one that is worse than those before it."""
    streaks, key, at = tx.run.streaks, f"{finding.detector}/{finding.rank}", finding.at
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


def _alert(tx: Transaction, finding: Finding, where: str) -> None:
    run, at = tx.run, finding.at
    generation, count = run.watch_alerts.get(finding.detector, (0, 0))
    if generation == at.generation and at.count - count < ALERT_GAP_BATCHES:
        return
    run.watch_alerts[finding.detector] = (at.generation, at.count)
    about = f"{run.spec.run}/watch/{finding.detector}/{at.generation}/{at.count}"
    title = f"{tx.name}: {finding.summary}"
    since = f"epoch {finding.since.epoch}, batch {finding.since.batch}"
    text = f"Seen at {where}, since {since}. Nothing is done about it: the policy only tells of {finding.detector}."
    if cause := cause_of(tx, finding):
        text = f"{text} {cause}"
    tx.effects.append(RaiseAlert(about, run.spec.run, AlertKind.WATCH, finding.severity, "", title, text, tx.now_s))


def going_on(run: RunState) -> list[Finding]:
    """What detectors are saying now: the last finding told of each streak that has not ended, the worst first."""
    if run.ended:
        return []
    told = {f"{finding.detector}/{finding.rank}": finding for finding in run.findings}
    going = [told[key] for key, streak in run.streaks.items() if key in told and _lasts(run, streak, told[key])]
    return sorted(going, key=lambda finding: -_ORDER.index(finding.severity))


def _lasts(run: RunState, streak: Streak, finding: Finding) -> bool:
    rank, at = run.ranks.get(finding.rank), finding.at
    if rank is None or streak.generation != run.generation:
        return False
    of_this_streak = at.generation == streak.generation and at.count >= streak.began
    return of_this_streak and rank.counts.batches - streak.count <= STREAK_GAP_BATCHES
