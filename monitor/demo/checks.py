"""What must hold at the end of the demo's night, as claims that are held against the evidence. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

from monitor.demo.evidence import Evidence
from monitor.demo.scene import CLEAN_EPOCH, EPOCHS
from monitor.model import Verdict

STRIPPED = "the optimizer was stripped"  # what Ultralytics itself does to last.pt and best.pt at the end of a training


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
        *_weights(evidence),
        _alerted(evidence),
        _metrics_agree(evidence),
        _reported(evidence),
    ]


def _fault_fired(evidence: Evidence) -> Check:
    bad, harmless = evidence.overflows, evidence.passes - evidence.overflows
    seen = f"{bad} batches overflowed; later {harmless} passed the same multiplication and stayed finite"
    return Check("the fault was injected, and stopped by the lower rate", bad >= 3 and harmless > 0, seen)


def _steps_skipped(evidence: Evidence) -> Check:
    skipped = int(evidence.metric("trainwarden_skipped_steps_total", by="guard"))
    return Check(
        "every bad step was skipped", skipped == evidence.overflows > 0, f"{skipped} of {evidence.overflows} steps"
    )


def _stopped(evidence: Evidence) -> Check:
    receipt = evidence.receipt
    if receipt is None:
        return Check("the training was stopped at a batch boundary", False, "no receipt of an order was found")
    seen = f"order {receipt.outcome} at epoch {receipt.epoch}, batch {receipt.batch}"
    holds = receipt.outcome == "applied" and receipt.epoch == CLEAN_EPOCH + 1
    return Check("the training was stopped at a batch boundary", holds, seen)


def _checkpoint_chosen(evidence: Evidence) -> Check:
    claim = f"epoch {CLEAN_EPOCH}'s checkpoint was examined, is clean, and was chosen"
    chosen = evidence.plan.checkpoint if evidence.plan else None
    if chosen is None:
        return Check(claim, False, "no plan to go back to a checkpoint was written")
    verdict = evidence.verdicts.get(chosen.digest, "never examined")
    return Check(claim, chosen.epoch == CLEAN_EPOCH and verdict == Verdict.CLEAN, f"epoch {chosen.epoch}, {verdict}")


def _settings_changed(evidence: Evidence) -> Check:
    claim = "every strengthened setting was read back from the new process"
    plan, applied = evidence.plan, evidence.applied
    if plan is None or not applied:
        return Check(claim, False, "no read-back arrived")
    mismatches = [sentence for one in applied for sentence in one.mismatches]
    changes = ", ".join(f"{change.setting} {change.old} -> {change.new}" for change in plan.changes)
    return Check(claim, bool(plan.changes) and not mismatches, "; ".join(mismatches) or changes)


def _cured(evidence: Evidence) -> Check:
    incident = evidence.incident
    seen = f"{incident.watch_seen} of {incident.watch_needed} needed" if incident else "there is no incident"
    holds = incident is not None and incident.watch_seen >= incident.watch_needed > 0
    return Check("healthy batches at the new rate proved the cure", holds, seen)


def _resolved(evidence: Evidence) -> Check:
    incident = evidence.incident
    seen = f"incident {incident.number} is {incident.state}" if incident else "there is no incident"
    return Check("the incident was resolved", incident is not None and incident.state == "resolved", seen)


def _finished(evidence: Evidence) -> Check:
    return Check("the training finished", evidence.exit_code == 0, f"exit code {evidence.exit_code}")


def _learned(evidence: Evidence) -> Check:
    epochs, last = [row.epoch for row in evidence.results], evidence.results[-1] if evidence.results else None
    claim = f"results.csv has {EPOCHS} epochs once each, and the last learned something"
    if last is None:
        return Check(claim, False, "results.csv is missing or empty")
    holds = epochs == list(range(1, EPOCHS + 1)) and math.isfinite(last.map50) and last.map50 > 0
    return Check(claim, holds, f"epochs {', '.join(map(str, epochs))}; mAP50 {last.map50:.3f}")


def _weights(evidence: Evidence) -> list[Check]:
    return [
        Check(
            f"{name} holds no damage", is_undamaged(found.verdict, found.reasons), f"{found.tensors} tensors examined"
        )
        for name, found in evidence.weights.items()
    ]


def is_undamaged(verdict: Verdict, reasons: tuple[str, ...]) -> bool:
    """Whether a finished training's file is sound but for its optimizer, which Ultralytics takes out at the end."""
    return verdict is Verdict.SOUND or (verdict is Verdict.UNVERIFIED and STRIPPED in "".join(reasons[:1]))


def _alerted(evidence: Evidence) -> Check:
    wanted = ("incident_opened", "rolled_back", "resolved")
    holds = set(wanted) <= set(evidence.alerts)
    return Check("the webhook was told", holds, ", ".join(evidence.alerts) or "nothing arrived")


def _metrics_agree(evidence: Evidence) -> Check:
    opened = int(evidence.metric("trainwarden_incidents_total"))
    rollbacks = int(evidence.metric("trainwarden_rollbacks_total", outcome="applied"))
    bad = int(evidence.metric("trainwarden_nonfinite_batches_total", kind="loss"))
    seen = f"{bad} batches with a non-finite loss, {opened} incident, {rollbacks} rollback"
    return Check("/metrics agrees", (bad, opened, rollbacks) == (evidence.overflows, 1, 1), seen)


def _reported(evidence: Evidence) -> Check:
    named = f"epoch {CLEAN_EPOCH}" in evidence.report.lower()
    seen = f"{len(evidence.report.splitlines())} lines" if evidence.report else "there is none"
    return Check(f"the incident report is written and names epoch {CLEAN_EPOCH}", named, seen)
