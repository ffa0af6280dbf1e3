"""Findings become incidents, and incidents become actions.

Pure: every function takes a Transaction and leaves effects in it.
"""

from __future__ import annotations

from monitor.core.model import (
    ActionKind,
    AlertKind,
    CureWatch,
    ExamineCheckpoint,
    Finding,
    Incident,
    IncidentAction,
    IncidentState,
    SendOrder,
    Severity,
    WritePlan,
)
from monitor.core.policy import texts
from monitor.core.policy.choose import Action, choose
from monitor.core.policy.diagnosing import diagnosed
from monitor.core.policy.facts_at_open import facts_at_open, first_tensor
from monitor.core.policy.lifecycle import IncidentEvent
from monitor.core.policy.options import options_at
from monitor.core.policy.planning import make_plan, order_for, with_plan
from monitor.core.policy.transaction import Transaction
from monitor.core.policy.trust import judge
from monitor.core.state.ledger import ActionPlace, PendingOrder
from monitor.core.state.rows import CheckpointState
from trainer_hooks.wire.messages import Order
from trainer_hooks.wire.words import OrderKind

FINDINGS_MAX = 64  # of one incident; the first of each detector is what counts. Those beyond are counted
INCIDENTS_MAX = 1000  # of one training
EXAMINING_MAX = 500  # as many as there are checkpoints


def on_findings(tx: Transaction, findings: list[Finding]) -> None:
    """Open an incident, or add to the one that is live. A training that is being stopped gets no further one."""
    if not findings:
        return
    incident = tx.training.incident
    if incident is None:
        if not _is_being_stopped(tx):
            _open(tx, findings)
        return
    known = {f.detector for f in incident.findings}
    _add(incident, [f for f in findings if f.detector not in known])
    match incident.state:
        case IncidentState.WATCHING if incident.totals.attempts == 0:
            incident.watch.seen = 0
            if tx.may_act and not incident.action.waiting_for:  # somebody took the run over who can carry it out
                decide(tx, incident)
        case IncidentState.WATCHING:
            tx.move(incident, IncidentEvent.AGAIN)
            tx.record(incident, f"the problem is back: {findings[0].summary}", Severity.CRITICAL)
            decide(tx, incident)
        case IncidentState.OPEN | IncidentState.RELAPSED if not incident.action.waiting_for:
            decide(tx, incident)


def _add(incident: Incident, findings: list[Finding]) -> None:
    room = FINDINGS_MAX - len(incident.findings)
    incident.findings += findings[:room]
    incident.findings_left_out += len(findings[room:])


def _is_being_stopped(tx: Transaction) -> bool:
    """True from an order to stop until its answer: a quick loop takes a few more batches meanwhile."""
    return tx.ledger.pending is not None and tx.ledger.pending.order.kind == OrderKind.STOP


def _open(tx: Transaction, findings: list[Finding]) -> None:
    first = findings[0]
    id_, number = tx.incident_id()
    onset = min((f.since for f in findings), key=lambda p: (p.generation, p.count))
    incident = Incident(
        id=id_,
        number=number,
        family=first.family,
        severity=max((f.severity for f in findings), key=list(Severity).index),
        state=IncidentState.OPEN,
        opened_s=tx.now_s,
        opened_at=first.at,
        onset=onset,
        at_open=facts_at_open(tx.training, onset.count),
    )
    _add(incident, findings)
    diagnosed(tx, incident)
    enter(tx, incident)
    incident.at_open.options = options_at(tx, incident)
    tx.record(incident, texts.opened_line(tx.run, tx.training, incident, tx.now_s), Severity.CRITICAL)
    title = f"{tx.name}: {texts.opened_title(tx.run, tx.training, incident, tx.now_s)}"
    text = texts.opened_details(first_tensor(tx.training, onset.count), texts.changes_text(incident))
    tx.alert(AlertKind.INCIDENT_OPENED, title, text, incident.severity, incident)
    decide(tx, incident)


def enter(tx: Transaction, incident: Incident) -> None:
    """Add a new incident to the ledger, and count it."""
    tx.ledger.incidents.append(incident)
    del tx.ledger.incidents[:-INCIDENTS_MAX]
    key = f"{incident.family}/{incident.severity}"
    tx.ledger.counters.incidents[key] = tx.ledger.counters.incidents.get(key, 0) + 1


def decide(tx: Transaction, incident: Incident) -> None:
    """Take the next action: act, wait for an examination, only watch, or give up."""
    action = choose(tx.run, tx.training, incident, tx.policy, may_act=tx.may_act)
    incident.action.waiting_for = ""
    match action.kind:
        case ActionKind.WATCH:
            incident.action.reason = action.reason
            if incident.state is not IncidentState.WATCHING:
                tx.move(incident, IncidentEvent.ONLY_WATCHED)
            begin_watch(tx, incident)
            tx.record(incident, f"no action: {action.reason}", Severity.WARNING)
        case ActionKind.EXAMINE if action.checkpoint:
            examine(tx, action.checkpoint)
            incident.action.waiting_for = action.checkpoint.digest
        case ActionKind.ADJUST | ActionKind.ROLLBACK:
            _act(tx, incident, action)
        case ActionKind.STOP:
            give_up(tx, incident, action.reason)


def examine(tx: Transaction, checkpoint: CheckpointState) -> None:
    """Have a checkpoint examined, unless that is under way."""
    if checkpoint.digest not in tx.ledger.copies.examining:
        tx.ledger.copies.examining.append(checkpoint.digest)
        del tx.ledger.copies.examining[:-EXAMINING_MAX]
        name, digest = checkpoint.manifest_name, checkpoint.digest
        tx.effects.append(ExamineCheckpoint(tx.effect_id(), tx.run.spec.run, name, digest, tx.training.number))


def _act(tx: Transaction, incident: Incident, action: Action) -> None:
    run = tx.run
    target = action.checkpoint.digest if action.checkpoint else incident.action.target
    taken = incident.action = IncidentAction(action.kind, action.reason, target=target)
    adjust = action.kind is ActionKind.ADJUST
    order = order_for(tx, OrderKind.ADJUST if adjust else OrderKind.STOP, action.reason)
    plan = make_plan(tx, incident, order, action.checkpoint)
    name = f"adjust-{order.id}.json" if adjust else f"plan-{plan.generation}.json"
    incident.totals.attempts += 1
    incident.totals.rollbacks += action.kind is ActionKind.ROLLBACK
    taken.plan, taken.order = plan, with_plan(order, name)
    leader = tx.training.ranks.get(0)
    tx.ledger.last_action = ActionPlace(tx.training.generation, leader.counts.batches if leader else 0)
    tx.ledger.rollbacks_used += action.kind is ActionKind.ROLLBACK
    tx.move(incident, IncidentEvent.ACTED)
    what = (
        "changing the settings in place"
        if action.checkpoint is None
        else f"rolling back to epoch {action.checkpoint.epoch}"
    )
    tx.record(incident, f"{what}: {action.reason}", Severity.WARNING)
    if action.checkpoint:
        why = judge(action.checkpoint, tx.training, tx.policy.rollback)[1]
        tx.notify(f"epoch {action.checkpoint.epoch}'s checkpoint is clean: {why}")
    tx.effects.append(WritePlan(tx.effect_id(), run.spec.run, name, plan))


def give_up(tx: Transaction, incident: Incident, reason: str) -> None:
    """Stop the training, keep every file, and alert people."""
    incident.action.kind, incident.action.reason, incident.outcome = ActionKind.STOP, reason, f"given up: {reason}"
    tx.move(incident, IncidentEvent.SPENT)
    tx.record(incident, f"given up: the training is stopped and every file is kept; {reason}", Severity.CRITICAL)
    tx.alert(AlertKind.GIVEN_UP, f"{tx.name}: given up, the training is stopped", "", Severity.CRITICAL, incident)
    if tx.may_act and tx.run.alive:
        send(tx, order_for(tx, OrderKind.STOP, reason))


def send(tx: Transaction, order: Order, *, of_run: bool = False) -> None:
    """Send an order, and keep sending it until it is answered. `of_run`: see PendingOrder."""
    tx.ledger.pending = PendingOrder(order, tx.now_s, tx.now_s, of_run)
    tx.effects.append(SendOrder(order.id, order))


def begin_watch(tx: Transaction, incident: Incident) -> None:
    """(Re)start the watch: how many healthy batches it takes is fixed here."""
    rules = tx.policy.watch
    streak = incident.opened_at.count - incident.onset.count + 1
    interval = streak / max(incident.at_open.nonfinite, 1)
    acted = incident.totals.attempts > 0
    needed = max(rules.batches_min, round(rules.intervals * interval)) if acted else rules.recovery_batches
    incident.watch = CureWatch(needed)
