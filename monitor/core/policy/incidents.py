"""Findings become incidents, and incidents become actions.

Pure: every function takes a Transaction and leaves effects in it.
"""

from __future__ import annotations

from monitor.core.model import (
    ActionKind,
    AlertKind,
    CureWatch,
    EndTraining,
    ExamineCheckpoint,
    FactsAtOpen,
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
from monitor.core.policy.lifecycle import IncidentEvent
from monitor.core.policy.options import options_at
from monitor.core.policy.planning import make_plan, order_for, with_plan
from monitor.core.policy.strengthen import current
from monitor.core.policy.transaction import Transaction
from monitor.core.policy.trust import judge
from monitor.core.state.ledger import ActionPlace, PendingOrder
from monitor.core.state.rows import CheckpointState
from monitor.core.state.run import TrainingState
from trainer_hooks.wire.messages import Order
from trainer_hooks.wire.runfolder import Receipt
from trainer_hooks.wire.words import NOT_DONE, OrderKind, OrderOutcome, ReadBack

SAMPLES_MAX = 1024  # names of samples kept of an onset
FINDINGS_MAX = 64  # of one incident; the first of each detector is what counts
INCIDENTS_MAX = 1000  # of one training
EXAMINING_MAX = 500  # as many as there are checkpoints
ORDER_AGAIN_S = 1.0  # an unanswered order is sent again this often
ADJUST_TIMEOUT_S = 120.0  # an order waits for the next boundary between batches: validation and saving may take so long


def on_findings(tx: Transaction, findings: list[Finding]) -> None:
    """Open an incident, or add to the one that is live."""
    if not findings:
        return
    incident = tx.training.incident
    if incident is None:
        _open(tx, findings)
        return
    known = {f.detector for f in incident.findings}
    incident.findings.extend(f for f in findings if f.detector not in known and len(incident.findings) < FINDINGS_MAX)
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
        findings=findings[:FINDINGS_MAX],
        at_open=_facts_at_open(tx.training, onset.count),
    )
    diagnosed(tx, incident)
    enter(tx, incident)
    incident.at_open.options = options_at(tx, incident)
    tx.record(incident, texts.opened_line(tx.run, tx.training, incident, tx.now_s), Severity.CRITICAL)
    title = f"{tx.name}: {texts.opened_title(tx.run, tx.training, incident, tx.now_s)}"
    text = texts.opened_details(_first_tensor(tx.training, onset.count), texts.changes_text(incident))
    tx.alert(AlertKind.INCIDENT_OPENED, title, text, incident.severity, incident)
    decide(tx, incident)


def enter(tx: Transaction, incident: Incident) -> None:
    """Add a new incident to the ledger, and count it."""
    tx.ledger.incidents.append(incident)
    del tx.ledger.incidents[:-INCIDENTS_MAX]
    key = f"{incident.family}/{incident.severity}"
    tx.ledger.counters.incidents[key] = tx.ledger.counters.incidents.get(key, 0) + 1


def _facts_at_open(training: TrainingState, onset_count: int) -> FactsAtOpen:
    started = training.started
    return FactsAtOpen(
        started,
        current(training, started) if started else None,
        _samples_since(training, onset_count),
        _bad_since(training, onset_count),
    )


def _samples_since(training: TrainingState, count: int) -> list[str]:
    names = [
        name
        for g, seen in training.nonfinite_log
        if g == training.generation and _count_of(training, seen.epoch, seen.batch) >= count
        for name in seen.samples
    ]
    return list(dict.fromkeys(names))[:SAMPLES_MAX]


def _first_tensor(training: TrainingState, count: int) -> str:
    """Names the first tensor found non-finite since then, with a space before; empty: the hooks looked at none."""
    seen = [
        s
        for g, s in training.nonfinite_log
        if g == training.generation and _count_of(training, s.epoch, s.batch) >= count
    ]
    name = next((s.first_bad for s in seen if s.first_bad), "")
    return f" The first non-finite tensor: {name}." if name else ""


def _count_of(training: TrainingState, epoch: int, batch: int) -> int:
    """Counts.batches at a batch of this generation, from the rows of its epochs."""
    before = sum(r.batches for r in training.epochs if r.generation == training.generation and r.epoch < epoch)
    return before + batch + 1


def _bad_since(training: TrainingState, count: int) -> int:
    leader = training.ranks.get(0)
    return sum(1 for c in leader.learned.nonfinite.counts if c >= count) if leader else 0


def decide(tx: Transaction, incident: Incident) -> None:
    """Take the next action: act, wait for an examination, only watch, or give up."""
    action = choose(tx.run, tx.training, incident, tx.policy, may_act=tx.may_act)
    incident.action.waiting_for = ""
    match action.kind:
        case ActionKind.WATCH:
            incident.action.reason = action.reason
            if incident.state is not IncidentState.WATCHING:
                tx.move(incident, IncidentEvent.ONLY_WATCHED)
            _watch(tx, incident)
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
        run = tx.run.spec.run
        tx.effects.append(ExamineCheckpoint(tx.effect_id(), run, checkpoint.manifest_name, checkpoint.digest))


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


def send(tx: Transaction, order: Order) -> None:
    """Send an order, and keep sending it until it is answered."""
    tx.ledger.pending = PendingOrder(order, tx.now_s, tx.now_s)
    tx.effects.append(SendOrder(order.id, order))


def on_plan_written(tx: Transaction, plan: str, error: str) -> None:
    """The plan is on disk: now the order that names it may go out."""
    for training in tx.run.trainings.values():
        incident = training.incident
        if incident is None or incident.state is not IncidentState.MITIGATING:
            continue
        action = incident.action
        if action.plan is None or action.plan.id != plan or action.order is None:
            continue
        if error:
            failed(tx.of(training), incident, f"the plan could not be written: {error}")
        else:
            send(tx.of(training), action.order)


def failed(tx: Transaction, incident: Incident, why: str) -> None:
    """The action came to nothing: on to the next action."""
    if incident.action.kind == ActionKind.ROLLBACK:
        tx.ledger.counters.rollbacks[OrderOutcome.FAILED] = tx.ledger.counters.rollbacks.get(OrderOutcome.FAILED, 0) + 1
    tx.move(incident, IncidentEvent.FAILED)
    tx.record(incident, f"the action failed: {why}", Severity.CRITICAL)
    tx.ledger.last_action = None  # nothing was done, so nothing has to cool down
    decide(tx, incident)


def on_receipt(tx: Transaction, receipt: Receipt) -> None:
    """A receipt lies in the run folder: it answers the order of whichever training it was sent to."""
    for training in tx.run.trainings.values():
        if training.ledger.pending and training.ledger.pending.order.id == receipt.order:
            on_answer(tx.of(training), receipt.order, receipt.outcome, receipt.detail)


def on_answer(tx: Transaction, order_id: str, outcome: str, detail: str) -> None:
    """An order was answered, over the wire or by a receipt; a repeat changes nothing."""
    incident = tx.training.incident
    pending = tx.ledger.pending.order if tx.ledger.pending else None
    if pending is None or pending.id != order_id:
        return
    tx.ledger.pending = None
    tx.ledger.leaving = pending.kind == OrderKind.STOP and outcome not in NOT_DONE
    key = f"{pending.kind}/{outcome}"
    tx.ledger.counters.orders[key] = tx.ledger.counters.orders.get(key, 0) + 1
    if incident is None or incident.action.order is None or incident.action.order.id != order_id:
        tx.notify(f"the order to {pending.kind} was {outcome}")
        return
    if incident.state is not IncidentState.MITIGATING:
        return
    if outcome in NOT_DONE:
        failed(tx, incident, f"the trainer {outcome} the order: {detail}")
        return
    incident.action.left_at = tx.training.position
    incident.action.applied_s = tx.now_s
    at = tx.training.position
    where = f"epoch {at.epoch}, batch {at.batch}" if at else "a place between two batches"
    if pending.kind == OrderKind.ADJUST:
        _applied(tx, incident, f"settings changed in place at {where}")
    else:
        tx.record(incident, f"the training stopped between two batches ({where}; {outcome})")


def _applied(tx: Transaction, incident: Incident, text: str) -> None:
    """The action is in force: from here on the cure has to prove itself."""
    tx.ledger.in_force = incident.action.plan.settings if incident.action.plan else None
    tx.answer_nonfinite()
    tx.ledger.suspicion_s = None
    tx.move(incident, IncidentEvent.APPLIED)
    _watch(tx, incident)
    changed = ", ".join(f"{c.setting} {c.old} -> {c.new}" for c in incident.action.changes) or "no setting changed"
    tx.record(incident, f"{text}; {changed}")
    kind = AlertKind.ROLLED_BACK if incident.action.kind == ActionKind.ROLLBACK else AlertKind.ADJUSTED
    tx.alert(
        kind,
        f"{tx.name}: {text}",
        f"Reason: {incident.action.reason}.",
        Severity.WARNING,
        incident,
    )


def on_plan_applied(tx: Transaction, plan_id: str, when: str, mismatches: tuple[str, ...]) -> None:
    """A generation reports the settings that are in force."""
    incident = tx.training.incident
    if incident is None or incident.action.plan is None or incident.action.plan.id != plan_id:
        return
    if when == ReadBack.FIRST_STEP and incident.state is IncidentState.MITIGATING:
        _resumed(tx, incident)
    for sentence in mismatches:
        tx.record(incident, f"read back at the {when}: {sentence}", Severity.CRITICAL)
    if mismatches:
        tx.alert(
            AlertKind.SETTINGS_DIFFER,
            f"{tx.name}: settings differ from the plan",
            f"Settings that differ: {'; '.join(mismatches)}.",
            Severity.CRITICAL,
            incident,
        )
    elif when == ReadBack.RAMP_END:
        tx.record(incident, "warm-up ended; every setting read back is the plan's")


def _resumed(tx: Transaction, incident: Incident) -> None:
    plan = incident.action.plan
    incident.action.resumed_s = tx.now_s
    started = plan.start_epoch if plan else 0
    tx.ledger.counters.rollbacks[OrderOutcome.APPLIED] = tx.ledger.counters.rollbacks.get(OrderOutcome.APPLIED, 0) + 1
    _applied(tx, incident, f"rolled back: generation {tx.training.generation} starts at epoch {started}")


def _watch(tx: Transaction, incident: Incident) -> None:
    """(Re)start the watch: how many healthy batches it takes is fixed here."""
    rules = tx.policy.watch
    streak = incident.opened_at.count - incident.onset.count + 1
    interval = streak / max(incident.at_open.nonfinite, 1)
    acted = incident.totals.attempts > 0
    needed = max(rules.batches_min, round(rules.intervals * interval)) if acted else rules.recovery_batches
    incident.watch = CureWatch(needed)


def on_tick(tx: Transaction) -> None:
    """Send an unanswered order again; an adjustment that is never answered has failed."""
    pending, run, incident = tx.ledger.pending, tx.run, tx.training.incident
    if pending is None or not run.alive:
        return
    order, late = pending.order, tx.now_s - pending.since_s
    mitigating = incident is not None and incident.state is IncidentState.MITIGATING
    if order.kind == OrderKind.ADJUST and late > ADJUST_TIMEOUT_S and incident and mitigating:
        tx.ledger.pending = None
        failed(tx, incident, f"the training did not answer the order to change settings for {late:.0f} s")
    elif order.kind == OrderKind.STOP and not order.plan and late > tx.policy.rollback.grace_s and run.supervisor_pid:
        tx.ledger.pending = None  # with a plan the supervisor watches the clock itself
        tx.notify(texts.not_obeyed(late), Severity.WARNING)
        tx.effects.append(EndTraining(tx.effect_id(), run.spec.run))
    elif tx.now_s - pending.sent_s >= ORDER_AGAIN_S:
        pending.sent_s = tx.now_s
        tx.effects.append(SendOrder(order.id, order))
