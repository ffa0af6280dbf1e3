"""Findings that open no incident: counted, told once a streak, alerted where they are warnings. Pure.

Only a critical finding becomes an incident. The rest is for people: a streak is one detector going on about one rank,
and however long it lasts it is one entry in the report, one line on the terminal and at most one alert.
"""

from __future__ import annotations

from monitor.core.model import Finding, RaiseAlert, Severity
from monitor.core.policy import stack_collection, texts
from monitor.core.policy.diagnosing import cause_of, diagnosed_again
from monitor.core.policy.incidents import on_findings as on_critical
from monitor.core.policy.transaction import Transaction
from monitor.core.state.ongoing_findings import STREAK_GAP_BATCHES
from monitor.core.state.run import Streak

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
        _alert(tx, finding)


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


def _alert(tx: Transaction, finding: Finding) -> None:
    run, at = tx.run, finding.at
    generation, count = run.watch_alerts.get(finding.detector, (0, 0))
    if generation == at.generation and at.count - count < ALERT_GAP_BATCHES:
        return
    run.watch_alerts[finding.detector] = (at.generation, at.count)
    about = f"{run.spec.run}/watch/{finding.detector}/{at.generation}/{at.count}"
    title = f"{tx.name}: {finding.summary}"
    text = texts.watch_text(finding, cause_of(tx, finding))
    tx.effects.append(RaiseAlert(about, run.spec.run, "watch", finding.severity, "", title, text, tx.now_s))
