"""What is done about findings: critical ones make an incident, new warnings an alert, and every new one a line. Pure.

A streak is one detector that keeps finding the same of one rank: however long it lasts, it is one entry in the report,
one line on the terminal and at most one alert.
"""

from __future__ import annotations

from monitor.core.format import batch_at
from monitor.core.model import AlertKind, Finding, RaiseAlert, Severity
from monitor.core.policy import stack_collection, texts
from monitor.core.policy.diagnosing import cause_of, diagnosed_again
from monitor.core.policy.incidents import on_findings as on_critical
from monitor.core.policy.transaction import Transaction

EACH_BATCH = "nonfinite_batch"  # cure_watch has written a line about the same batch of rank 0
ALERT_GAP_BATCHES = 1000  # no second alert of one detector sooner


def on_findings(tx: Transaction, found: list[Finding], new: list[Finding]) -> None:
    """Take the findings of one input, and those among them that are new."""
    if not found:
        return
    for finding in new:
        _notify(tx, finding)
    on_critical(tx, stack_collection.acted_on(tx, found))
    if tx.training.incident is not None:
        diagnosed_again(tx, tx.training.incident, news=bool(new))


def _notify(tx: Transaction, finding: Finding) -> None:
    if finding.severity is Severity.CRITICAL:
        return  # the alert of its incident reports it
    if finding.rank or finding.detector != EACH_BATCH:
        _line(tx, finding)
    if finding.severity is Severity.WARNING:
        _alert(tx, finding)


def _line(tx: Transaction, finding: Finding) -> None:
    where = batch_at(finding.at.epoch, finding.at.batch) if finding.at.count else "before the first batch"
    tx.notify(f"{where}: {finding.summary}", finding.severity)


def _alert(tx: Transaction, finding: Finding) -> None:
    run, at = tx.run, finding.at
    generation, count = tx.ledger.warned.get(finding.detector, (0, 0))
    if generation == at.generation and at.count - count < ALERT_GAP_BATCHES:
        return
    tx.ledger.warned[finding.detector] = (at.generation, at.count)
    about = f"{tx.alert_key}/watch/{finding.detector}/{at.generation}/{at.count}"
    title = f"{tx.name}: {finding.summary}"
    acts = tx.may_act and getattr(tx.policy.detectors.by_name().get(finding.detector), "act", False)
    text = texts.watch_text(finding, cause_of(tx, finding), acts=acts)
    tx.effects.append(
        RaiseAlert(about, run.spec.run, AlertKind.WATCH, finding.severity, "", title, text, tx.now_s, finding.family)
    )
