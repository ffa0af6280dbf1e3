"""Findings become incidents, and incidents become actions.

Pure: every function takes a Transaction and leaves effects in it.
"""

from __future__ import annotations

from monitor.core.model import (
    ActionKind,
    AlertKind,
    CureWatch,
    ExamineCheckpoint,
    Family,
    Finding,
    Incident,
    IncidentAction,
    IncidentState,
    SendOrder,
    Severity,
    TrialStep,
    WritePlan,
)
from monitor.core.policy import texts, trial
from monitor.core.policy.action import Action, Trouble
from monitor.core.policy.choose import choose
from monitor.core.policy.diagnosing import diagnosed
from monitor.core.policy.facts_at_open import facts_at_open, first_tensor
from monitor.core.policy.in_process import goes_back_in_process
from monitor.core.policy.lifecycle import IncidentEvent
from monitor.core.policy.options import options_at
from monitor.core.policy.planning import make_plan, order_for, with_plan
from monitor.core.policy.return_proof import compare_first_losses
from monitor.core.policy.situation import bad_batches, damage
from monitor.core.policy.transaction import Transaction
from monitor.core.policy.trust import judge
from monitor.core.state.ledger import ActionPlace, PendingOrder
from monitor.core.state.projection import batches_to_end
from monitor.core.state.rows import CheckpointState
from trainer_hooks.wire.messages import Order
from trainer_hooks.wire.words import OrderKind, OrderOutcome

FINDINGS_MAX = 64  # of one incident; the first of each detector is what counts. Those beyond are counted
INCIDENTS_MAX = 1000  # of one training
EXAMINING_MAX = 500  # as many as there are checkpoints
LOOK_BATCHES = 8  # a decision to wait is looked at again this often, and at each bad batch
WATCH_LEAST = 50  # batches, where so many are left: a pause between two bursts is no recovery
WATCH_SHARE = 0.1  # of what is left: a watch of 1,000 batches never ends in a training of 480


def on_findings(tx: Transaction, findings: list[Finding]) -> None:
    """Open an incident, or add to the one that is live. What is being stopped gets no further one."""
    if not findings or _is_over(tx):
        return
    incident = tx.training.incident
    if incident is None:
        open_incident(tx, findings)
        return
    if incident.state is IncidentState.WATCHING and _is_another(incident, findings):
        went_on = "after the new start" if incident.totals.rollbacks else "by itself"
        end(tx, incident, f"training went on {went_on}; what came then is another incident")
        open_incident(tx, findings)
        return
    _add(incident, findings)
    incident.hangs |= any(finding.family == Family.HANG for finding in findings)
    if _starts_no_training(tx, incident):
        start_failed(tx, incident)
    if incident.state is IncidentState.WATCHING and not incident.totals.attempts:
        incident.watch.seen = 0
    if incident.tolerated and damage(tx.training, tx.policy) is not None:
        end(tx, incident, "training went on with its bad steps skipped, until its state was damaged")
        open_incident(tx, findings)
    elif incident.state is not IncidentState.MITIGATING and not incident.action.waiting_for:
        decide(tx, incident)


def _is_another(incident: Incident, findings: list[Finding]) -> bool:
    """True where training went on after its process had died, or after it had stood still."""
    if incident.family == Family.HANG:
        return not incident.hangs and all(finding.family != Family.HANG for finding in findings)
    return incident.family == Family.CRASH


def _starts_no_training(tx: Transaction, incident: Incident) -> bool:
    """True where the generation that our own plan began stands still before its first batch."""
    action, plan = incident.action, incident.action.plan
    if not incident.hangs or incident.state is not IncidentState.MITIGATING or plan is None:
        return False
    return plan.generation == tx.training.generation and action.resumed_s is None and tx.ledger.pending is None


def start_failed(tx: Transaction, incident: Incident) -> None:
    """The new start came to nothing: on to the next action."""
    tx.ledger.counters.rollbacks[OrderOutcome.FAILED] = tx.ledger.counters.rollbacks.get(OrderOutcome.FAILED, 0) + 1
    tx.move(incident, IncidentEvent.FAILED)
    tx.record(incident, "the new start trains no batch: it stands still", Severity.CRITICAL)
    tx.ledger.last_action = None  # nothing was trained, so nothing has to cool down


def look_again(tx: Transaction, incident: Incident, *, bad: bool, count: int) -> None:
    """At a batch: decide again where the last decision was to wait. `count`: Counts.batches of rank 0."""
    waits = incident.state in (IncidentState.OPEN, IncidentState.RELAPSED) or (
        incident.state is IncidentState.WATCHING and (incident.trial.goes_on or _only_waits(incident))
    )
    due = bad or count % LOOK_BATCHES == 0
    if waits and due and tx.may_act and not incident.action.waiting_for and not _is_over(tx):
        decide(tx, incident, found=False)


def _only_waits(incident: Incident) -> bool:
    return not incident.totals.attempts and not incident.tolerated


def _add(incident: Incident, findings: list[Finding]) -> None:
    known = {f.detector for f in incident.findings}
    new = [f for f in findings if f.detector not in known]
    room = FINDINGS_MAX - len(incident.findings)
    incident.findings += new[:room]
    incident.findings_left_out += len(new[room:])


def _is_over(tx: Transaction) -> bool:
    """True from an order to stop until its generation has gone: a stop is final, and nothing that follows is news."""
    pending = tx.ledger.pending
    stopping = pending is not None and pending.order.kind == OrderKind.STOP
    return stopping or tx.ledger.leaving or tx.ledger.given_up_in == tx.training.generation


def open_incident(tx: Transaction, findings: list[Finding], *, asked: bool = False) -> None:
    """A new trouble: write it down, alert people, and decide. `asked`: see Incident."""
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
        asked=asked,
    )
    _add(incident, findings)
    date_back(tx, incident)
    diagnosed(tx, incident)
    enter(tx, incident)
    if incident.family != Family.CRASH:  # there is nothing to choose: its process is gone
        incident.at_open.options = options_at(tx, incident)
    tx.record(incident, texts.opened_line(tx.run, tx.training, incident, tx.now_s), Severity.CRITICAL)
    title = f"{tx.name}: {texts.opened_title(tx.run, tx.training, incident)}"
    text = texts.opened_details(first_tensor(tx.training, onset.count), texts.changes_text(incident))
    tx.alert(AlertKind.INCIDENT_OPENED, title, text, incident.severity, incident)
    decide(tx, incident)


def date_back(tx: Transaction, incident: Incident) -> None:
    """Remember since when the state is damaged: dated back to an anomaly that still stood at the first bad batch."""
    found = damage(tx.training, tx.policy)
    if found is None or incident.damaged_at is not None:
        return
    incident.damaged_at, incident.one_event = found.since, found.one_event


def enter(tx: Transaction, incident: Incident) -> None:
    """Add a new incident to the ledger, and count it."""
    tx.ledger.incidents.append(incident)
    del tx.ledger.incidents[:-INCIDENTS_MAX]
    key = f"{incident.family}/{incident.severity}"
    tx.ledger.counters.incidents[key] = tx.ledger.counters.incidents.get(key, 0) + 1


def decide(tx: Transaction, incident: Incident, *, found: bool = True) -> None:
    """Take the next action: act, wait, have a checkpoint examined, go on, or stop. `found`: see Trouble."""
    date_back(tx, incident)
    action = choose(tx.run, tx.training, incident, tx.policy, may_act=tx.may_act, found=found)
    incident.action.waiting_for = ""
    incident.asked &= action.kind in (ActionKind.EXAMINE, ActionKind.WAIT)
    match action.kind:
        case ActionKind.WATCH | ActionKind.WAIT:
            _wait(tx, incident, action)
        case ActionKind.GO_ON:
            _go_on(tx, incident, action)
        case ActionKind.EXAMINE if action.checkpoint:
            examine(tx, action.checkpoint)
            incident.action.waiting_for = action.checkpoint.digest
        case ActionKind.ADJUST | ActionKind.UNDO | ActionKind.ROLLBACK:
            _act(tx, incident, action)
        case ActionKind.STOP:
            give_up(tx, incident, action.reason)


def _wait(tx: Transaction, incident: Incident, action: Action) -> None:
    """Nothing is done now. Healthy batches end the incident, unless something was done before."""
    final = action.kind is ActionKind.WATCH
    if incident.totals.attempts and incident.state is not IncidentState.RELAPSED and not final:
        return
    if final and incident.acted_on and tx.ledger.in_force is None:  # what was tried has failed
        incident.action = IncidentAction(ActionKind.WATCH, action.reason, target=incident.action.target)
        incident.action.person_decides = True
    elif not incident.totals.attempts:
        incident.action.reason = action.reason  # else the reason is that of what was done
        incident.action.person_decides = final
    if incident.state is not IncidentState.WATCHING:
        tx.move(incident, IncidentEvent.ONLY_WATCHED)
        begin_watch(tx, incident)
    text = f"{'no action' if final else 'no action yet'}: {action.reason}"
    if any(entry.text == text for entry in incident.timeline):
        return
    tx.record(incident, text, Severity.WARNING)
    if final and tx.may_act:
        title = f"{tx.name}: no action is possible, and a person must decide"
        tx.alert(AlertKind.GOES_ON, title, f"Reason: {action.reason}.", Severity.CRITICAL, incident)


def _go_on(tx: Transaction, incident: Incident, action: Action) -> None:
    """The state is clean and nothing more is done: what is saved from here on is as good as what was saved before."""
    if incident.tolerated and incident.state is IncidentState.WATCHING:
        return
    helped = incident.acted_on and incident.trial.step is TrialStep.ADJUSTED
    refused = incident.tolerated
    incident.trial = trial.after(Trouble(tx.run, tx.training, incident, tx.policy), action)
    if helped:
        if not incident.adjusting_asked:  # nothing was wrong that the change could help
            tx.record(incident, action.reason)
        return
    if not refused:
        incident.action = IncidentAction(ActionKind.GO_ON, action.reason, target=incident.action.target)
    if incident.state is not IncidentState.WATCHING:
        tx.move(incident, IncidentEvent.ONLY_WATCHED)
    begin_watch(tx, incident)
    tx.answer_nonfinite()
    tx.record(incident, f"training goes on: {action.reason}", Severity.WARNING)
    title = f"{tx.name}: training goes on, its bad steps are skipped"
    tx.alert(AlertKind.GOES_ON, title, f"Reason: {action.reason}.", Severity.WARNING, incident)


def examine(tx: Transaction, checkpoint: CheckpointState) -> None:
    """Have a checkpoint examined, unless that is under way."""
    if checkpoint.digest not in tx.ledger.copies.examining:
        tx.ledger.copies.examining.append(checkpoint.digest)
        del tx.ledger.copies.examining[:-EXAMINING_MAX]
        name, digest = checkpoint.manifest_name, checkpoint.digest
        tx.effects.append(ExamineCheckpoint(tx.effect_id(), tx.run.spec.run, name, digest, tx.training.number))


def _act(tx: Transaction, incident: Incident, action: Action) -> None:
    if incident.state is IncidentState.WATCHING and incident.totals.rollbacks and action.kind is ActionKind.ROLLBACK:
        tx.move(incident, IncidentEvent.AGAIN)
        tx.record(incident, "the problem is back", Severity.CRITICAL)
        tx.alert(AlertKind.ESCALATED, f"{tx.name}: the problem is back", "", Severity.CRITICAL, incident)
    trouble = Trouble(tx.run, tx.training, incident, tx.policy)
    inside = action.checkpoint is not None and goes_back_in_process(trouble, action.checkpoint)
    in_place = action.checkpoint is None
    incident.trial = trial.after(trouble, action)
    target = action.checkpoint.digest if action.checkpoint else incident.action.target
    taken = incident.action = IncidentAction(action.kind, action.reason, target=target)
    kind = OrderKind.ADJUST if in_place else OrderKind.GO_BACK if inside else OrderKind.STOP
    order = order_for(tx, kind, action.reason)
    plan = make_plan(tx, incident, order, action, in_process=inside)
    incident.totals.attempts += 1
    incident.totals.rollbacks += action.kind is ActionKind.ROLLBACK
    incident.totals.hang_tries += incident.hangs
    name = f"adjust-{order.id}.json" if in_place or inside else f"plan-{plan.generation}.json"
    taken.plan, taken.order = plan, with_plan(order, name)
    leader = tx.training.ranks.get(0)
    tx.ledger.last_action = ActionPlace(tx.training.generation, leader.counts.batches if leader else 0)
    tx.ledger.rollbacks_used += action.kind is ActionKind.ROLLBACK and incident.family != Family.CRASH
    tx.move(incident, IncidentEvent.ACTED)
    cost = f"; {action.cost}" if action.cost else ""
    tx.record(incident, f"{_what(action, incident)}: {action.reason}{cost}", Severity.WARNING)
    if action.checkpoint:
        why = judge(action.checkpoint, tx.training, tx.policy.rollback)[1]
        tx.notify(f"the {action.checkpoint.title} is clean: {why}")
    tx.effects.append(WritePlan(tx.effect_id(), tx.run.spec.run, name, plan))


def _what(action: Action, incident: Incident) -> str:
    if action.checkpoint is not None and incident.family == Family.CRASH:
        return f"starting again from {action.checkpoint.place}"
    if action.checkpoint is not None:
        return f"rolling back to {action.checkpoint.place}"
    back = action.kind is ActionKind.UNDO
    return "putting the settings back in place" if back else "changing the settings in place"


def give_up(tx: Transaction, incident: Incident, reason: str) -> None:
    """Stop the training, keep every file, and alert people. It is final until the generation has gone."""
    incident.action.kind, incident.action.reason, incident.outcome = ActionKind.STOP, reason, reason
    tx.ledger.given_up_in = tx.training.generation
    tx.move(incident, IncidentEvent.SPENT)
    if tx.may_act and tx.run.alive:
        send(tx, order_for(tx, OrderKind.STOP, reason))
    tx.record(incident, f"given up: the training is stopped and every file is kept; {reason}", Severity.CRITICAL)
    tx.alert(AlertKind.GIVEN_UP, f"{tx.name}: given up, the training is stopped", "", Severity.CRITICAL, incident)


def end(tx: Transaction, incident: Incident, how: str) -> None:
    """The incident is over: proven after an action, else recovered by itself."""
    compare_first_losses(tx, incident, over=True)
    incident.outcome = how
    tx.move(incident, IncidentEvent.PROVEN if incident.acted_on else IncidentEvent.HEALED)
    tx.ledger.suspicion_s = None
    tx.record(incident, texts.ended_line(tx.run, tx.training, incident, tx.now_s))
    title = f"{tx.name}: incident {incident.number} {texts.state_text(incident)}"
    tx.alert(AlertKind.RESOLVED, title, "", Severity.INFO, incident)


def send(tx: Transaction, order: Order, *, of_run: bool = False) -> None:
    """Send an order, and keep sending it until it is answered. `of_run`: see PendingOrder."""
    tx.ledger.pending = PendingOrder(order, tx.now_s, tx.now_s, of_run)
    tx.effects.append(SendOrder(order.id, order))


def begin_watch(tx: Transaction, incident: Incident) -> None:
    """(Re)start the watch: how many healthy batches it takes is fixed here."""
    rules, left = tx.policy.watch, batches_to_end(tx.training)
    streak = incident.opened_at.count - incident.onset.count + 1
    seen = bad_batches(tx.training, incident)
    interval = max(streak / max(incident.at_open.nonfinite, 1), seen.of / seen.count if seen.count else 0.0)
    acted = incident.acted_on
    usual = rules.batches_min if acted else rules.recovery_batches
    if left is not None:
        usual = min(usual, max(round(WATCH_SHARE * left), WATCH_LEAST))
    needed = max(usual, round(rules.intervals * interval))
    incident.watch = CureWatch(needed if left is None else min(needed, max(left // 2, 1)))
