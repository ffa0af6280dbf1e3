"""Diagnoses an incident when it opens, and again while it is live. A defect in the diagnosis does not end it. Pure."""

from __future__ import annotations

import traceback

import msgspec

from monitor.core.diagnosis import diagnose, diagnose_finding
from monitor.core.model import Family, Finding, Incident, Severity
from monitor.core.policy.transaction import Transaction
from monitor.core.state.anomalies import unexplained_setting

REVISIONS_MAX = 32  # of one incident: after twice as many batches as the last one, and at each new finding
FIRST_BATCHES = 8
# Families that open an incident seldom or never; of the others more is known when an incident opens.
SELDOM_INCIDENTS = (Family.MEMORY, Family.SPEED, Family.HANG, Family.VALIDATION)


def diagnosed(tx: Transaction, incident: Incident) -> None:
    """Give an incident that opens its diagnosis."""
    _diagnose(tx, incident)


def diagnosed_again(tx: Transaction, incident: Incident, *, news: bool = False) -> None:
    """Make the diagnosis anew where that is due: at news, and at every doubling of the batches since it opened.

    It is frozen once something was done, in another generation, and after REVISIONS_MAX.
    """
    known, here = incident.diagnosis, tx.training.position
    if known is None or here is None or not incident.live or incident.action.applied_s is not None:
        return
    if here.generation != incident.onset.generation or known.revision >= REVISIONS_MAX:
        return
    opened = incident.opened_at.count
    if not news and here.count - opened < max(FIRST_BATCHES, 2 * (known.at.count - opened)):
        return
    _diagnose(tx, incident, known.revision + 1)
    now = incident.diagnosis
    if now is not None and now.verdict != known.verdict:
        tx.record(incident, f"the diagnosis has changed: {now.text}", Severity.WARNING)


def _diagnose(tx: Transaction, incident: Incident, revision: int = 0) -> None:
    try:
        found = diagnose(tx.training, incident)
    except Exception as error:  # noqa: BLE001 - our own defect; the incident must go on without a diagnosis
        _report_defect(tx, error)
        return
    incident.diagnosis = msgspec.structs.replace(found, revision=revision)


def cause_of(tx: Transaction, finding: Finding) -> str:
    """The likely cause of a finding that opens no incident, in a sentence; empty: not enough evidence."""
    if finding.family not in SELDOM_INCIDENTS and not _follows_a_change(tx, finding):
        return ""
    try:
        found = diagnose_finding(tx.training, finding)
    except Exception as error:  # noqa: BLE001 - as above: the alert is sent without a cause
        _report_defect(tx, error)
        return ""
    return found.text if found.verdict else ""


def _follows_a_change(tx: Transaction, finding: Finding) -> bool:
    """True where a setting changed that nothing explains: it is named beside what came after it."""
    changed = unexplained_setting(tx.training)
    return changed is not None and changed.detector != finding.detector


def _report_defect(tx: Transaction, error: Exception) -> None:
    tx.run.ledger.defects += 1
    place = traceback.extract_tb(error.__traceback__)[-1]
    what = f"{type(error).__name__} in {place.name}, line {place.lineno}: {error}"
    tx.notify(f"a defect of trainwarden in the diagnosis, please report it: {what}", Severity.CRITICAL)
