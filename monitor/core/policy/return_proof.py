"""What is said of the first losses after a return to a saved state: whether they prove it. Pure.

It changes nothing of the training. Where the losses are bad, the detectors find them, and the decision table decides.
"""

from __future__ import annotations

from monitor.core.model import AlertKind, ComparisonOutcome, Incident, IncidentState, Severity
from monitor.core.policy.transaction import Transaction
from monitor.core.state.first_losses import compared

WHAT_NOW = "No action follows by itself. Check whether the script or its data have changed since the state was saved."


def compare_first_losses(tx: Transaction, incident: Incident, *, over: bool = False) -> None:
    """Once for each return, when enough losses have come; `over`: no more will."""
    action = incident.action
    if action.resumed_s is None or action.first_losses is not None or incident.state is IncidentState.MITIGATING:
        return
    found = compared(tx.training.first_losses, over=over)
    if found is None:
        return
    action.first_losses = found
    if found.outcome is not ComparisonOutcome.NOT_PROVEN:
        tx.record(incident, f"the return is {found.outcome}: {found.text}")
        return
    tx.record(incident, f"the return is {found.outcome}: {found.text}", Severity.WARNING)
    title = f"{tx.name}: the first losses after it went back differ from those before"
    tx.alert(AlertKind.LOSSES_DIFFER, title, WHAT_NOW, Severity.WARNING, incident)
