"""What must hold at the end of the demo's night, as claims that are held against the evidence. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

from monitor.core.format import saved_place
from monitor.core.model import IncidentState, Verdict
from monitor.demo.collected import ALERTS, Evidence
from monitor.demo.scene import CLEAN_EPOCH, EPOCHS, FAULT_FROM
from trainer_hooks.wire.words import OrderOutcome


class Check(NamedTuple):
    """One line of the check list."""

    claim: str
    holds: bool
    seen: str  # what was found, whether it holds or not


def checks_of(evidence: Evidence) -> list[Check]:
    """Every claim of the night, in the order in which it happened."""
    return [
        _fault_fired(evidence),
        _steps_skipped(evidence),
        _stopped(evidence),
        _checkpoint_chosen(evidence),
        _settings_changed(evidence),
        _cured(evidence),
        _resolved(evidence),
        _finished(evidence),
        _learned(evidence),
        _undamaged(evidence),
        _alerted(evidence),
        _metrics_agree(evidence),
        _reported(evidence),
    ]


def _fault_fired(evidence: Evidence) -> Check:
    bad, harmless = evidence.passes
    seen = f"{bad} batches overflowed; {harmless} later ones passed the same multiplication and stayed finite"
    return Check("the fault was injected, and the lower rate took it away", bad >= 3 and harmless > 0, seen)


def _steps_skipped(evidence: Evidence) -> Check:
    skipped, bad = int(evidence.answers.metric("trainwarden_skipped_steps_total", by="guard")), evidence.passes.overflow
    seen = evidence.answers.silence or f"{skipped} of {bad}"
    return Check("every bad step was skipped", skipped == bad > 0, seen)


def _stopped(evidence: Evidence) -> Check:
    claim, receipt = "the training left its loop at a batch boundary", evidence.receipt
    if receipt is None:
        return Check(claim, False, "no receipt of an order was found")
    holds = receipt.outcome == OrderOutcome.APPLIED and receipt.epoch == CLEAN_EPOCH + 1
    return Check(claim, holds, f"order {receipt.outcome} at epoch {receipt.epoch}, batch {receipt.batch}")


def _checkpoint_chosen(evidence: Evidence) -> Check:
    claim = "a clean state from right before the fault was examined and chosen"
    chosen = evidence.plan.target if evidence.plan else None
    if chosen is None:
        return Check(claim, False, "no plan to go back was written")
    found = next((line for line in evidence.answers.checkpoints if line.digest == chosen.digest), None)
    seen = f"{found.verdict}: {found.why}" if found else evidence.answers.silence or "it was never examined"
    before = (CLEAN_EPOCH - 1, 0) < chosen.holds < (CLEAN_EPOCH, FAULT_FROM)
    holds = before and found is not None and found.verdict == Verdict.CLEAN
    return Check(claim, holds, f"{saved_place(*chosen.holds)}, {seen}")


def _settings_changed(evidence: Evidence) -> Check:
    claim, plan = "every strengthened setting was read back from the training", evidence.plan
    if plan is None or not plan.changes:
        return Check(claim, False, "no plan that changes a setting was written")
    incident = evidence.answers.incident
    read_back, differing = (incident.settings_read_back, incident.settings_differ) if incident else (False, ())
    changes = ", ".join(f"{change.setting} {change.old} -> {change.new}" for change in plan.changes)
    seen = "; ".join(differing) or (changes if read_back else f"no read-back arrived for {changes}")
    return Check(claim, read_back and not differing, seen)


def _cured(evidence: Evidence) -> Check:
    incident = evidence.answers.incident
    seen = f"{incident.watch_seen}, {incident.watch_needed} were needed" if incident else _nothing(evidence)
    holds = incident is not None and incident.watch_seen >= incident.watch_needed > 0
    return Check("healthy batches at the new rate proved the cure", holds, seen)


def _resolved(evidence: Evidence) -> Check:
    incident = evidence.answers.incident
    seen = f"incident {incident.number} is {incident.state}" if incident else _nothing(evidence)
    return Check("the incident was resolved", incident is not None and incident.state == IncidentState.RESOLVED, seen)


def _nothing(evidence: Evidence) -> str:
    return evidence.answers.silence or "there is no incident"


def _finished(evidence: Evidence) -> Check:
    return Check("the training finished", evidence.exit_code == 0, f"exit code {evidence.exit_code}")


def _learned(evidence: Evidence) -> Check:
    claim = f"results.csv has {EPOCHS} epochs, once each, and the last finds shapes"
    if not evidence.results:
        return Check(claim, False, "it is missing or empty")
    epochs, last = [row.epoch for row in evidence.results], evidence.results[-1]
    holds = epochs == list(range(1, EPOCHS + 1)) and math.isfinite(last.map50) and last.map50 > 0
    return Check(claim, holds, f"epochs {' '.join(map(str, epochs))}; mAP50 {last.map50:.3f}")


def _undamaged(evidence: Evidence) -> Check:
    damage = [
        f"{name}: {'; '.join(found.reasons)}"
        for name, found in evidence.weights.items()
        if found.verdict is not Verdict.SOUND
    ]
    examined = ", ".join(f"{found.tensors} tensors of {name}" for name, found in evidence.weights.items())
    return Check("the final weights hold no damage", not damage, "; ".join(damage) or f"{examined} are sound")


def _alerted(evidence: Evidence) -> Check:
    holds = set(ALERTS) <= set(evidence.alerts)
    refused = f" ({evidence.alerts_refused} refused: too long, or no alerts)" if evidence.alerts_refused else ""
    return Check("the webhook received the alerts", holds, (", ".join(evidence.alerts) or "nothing arrived") + refused)


def _metrics_agree(evidence: Evidence) -> Check:
    answers = evidence.answers
    opened = int(answers.metric("trainwarden_incidents_total"))
    rollbacks = int(answers.metric("trainwarden_rollbacks_total", outcome=OrderOutcome.APPLIED))
    bad = int(answers.metric("trainwarden_nonfinite_batches_total", kind="loss"))
    seen = answers.silence or f"{bad} batches with a non-finite loss, {opened} incident, {rollbacks} rollback"
    return Check("/metrics agrees", (bad, opened, rollbacks) == (evidence.passes.overflow, 1, 1), seen)


def _reported(evidence: Evidence) -> Check:
    target = evidence.plan.target if evidence.plan else None
    named = target is not None and saved_place(*target.holds) in evidence.report
    seen = f"{len(evidence.report.splitlines())} lines" if evidence.report else "there is none"
    return Check("the incident report is written and names the state that was gone back to", named, seen)
