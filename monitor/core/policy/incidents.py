"""Findings become incidents, and incidents become actions.

Pure: every function takes a Transaction and leaves effects in it.
"""

from __future__ import annotations

from monitor.core.model import (
    EndTraining,
    ExamineCheckpoint,
    Finding,
    Incident,
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
from monitor.core.state.fold import totals_now
from monitor.core.state.run import CheckpointState, RunState
from monitor.core.state.stats import clear
from trainer_hooks.wire.messages import Order

SAMPLES_MAX = 1024  # names of samples kept of an onset
FINDINGS_MAX = 64  # of one incident; the first of each detector is what counts
INCIDENTS_MAX = 1000  # of one run
ORDER_AGAIN_S = 1.0  # an unanswered order is sent again this often
ADJUST_TIMEOUT_S = (
    120.0  # an adjustment is applied at the next boundary; a trainer that validates or saves may take this long
)


def on_findings(tx: Transaction, findings: list[Finding]) -> None:
    """Open an incident, or let the one that lives know that it goes on."""
    if not findings:
        return
    incident = tx.run.incident
    if incident is None:
        _open(tx, findings)
        return
    known = {f.detector for f in incident.findings}
    incident.findings.extend(f for f in findings if f.detector not in known and len(incident.findings) < FINDINGS_MAX)
    match incident.state:
        case IncidentState.WATCHING if incident.attempts == 0:
            incident.watch_seen = 0
            if tx.may_act and not incident.waiting_for:  # somebody took the run over who can carry it out
                decide(tx, incident)
        case IncidentState.WATCHING:
            tx.move(incident, IncidentEvent.AGAIN)
            tx.record(incident, f"the problem is back: {findings[0].summary}", Severity.CRITICAL)
            decide(tx, incident)
        case IncidentState.OPEN | IncidentState.RELAPSED if not incident.waiting_for:
            decide(tx, incident)


def _open(tx: Transaction, findings: list[Finding]) -> None:
    run = tx.run
    first = findings[0]
    number = len(run.incidents) + 1
    onset = min((f.since for f in findings), key=lambda p: (p.generation, p.count))
    incident = Incident(
        id=f"{run.spec.run}-i{number}",
        number=number,
        family=first.family,
        severity=max((f.severity for f in findings), key=list(Severity).index),
        state=IncidentState.OPEN,
        opened_s=tx.now_s,
        opened_at=first.at,
        onset=onset,
        findings=findings[:FINDINGS_MAX],
        onset_samples=_samples_since(run, onset.count),
        nonfinite_at_open=totals_now(run).nonfinite_batches,
        window_nonfinite=_bad_since(run, onset.count),
    )
    if run.training:
        incident.training, incident.before = run.training, current(run, run.training)
    diagnosed(tx, incident)
    run.incidents.append(incident)
    del run.incidents[:-INCIDENTS_MAX]
    key = f"{incident.family}/{incident.severity}"
    run.totals.incidents[key] = run.totals.incidents.get(key, 0) + 1
    incident.options = options_at(tx, incident)
    tx.record(incident, texts.opened_line(run, incident, tx.now_s), Severity.CRITICAL)
    title = f"{tx.name}: {texts.opened_title(run, incident, tx.now_s)}"
    text = texts.opened_details(_first_tensor(run, onset.count), texts.changes_text(incident))
    tx.alert("incident_opened", title, text, incident.severity, incident)
    decide(tx, incident)


def _samples_since(run: RunState, count: int) -> list[str]:
    names = [
        name
        for g, seen in run.nonfinite_log
        if g == run.generation and _count_of(run, seen.epoch, seen.batch) >= count
        for name in seen.samples
    ]
    return list(dict.fromkeys(names))


def _first_tensor(run: RunState, count: int) -> str:
    """Names the first tensor found non-finite since then, with a space before; empty: the hooks looked at none."""
    seen = [s for g, s in run.nonfinite_log if g == run.generation and _count_of(run, s.epoch, s.batch) >= count]
    name = next((s.first_bad for s in seen if s.first_bad), "")
    return f" The first non-finite tensor: {name}." if name else ""


def _count_of(run: RunState, epoch: int, batch: int) -> int:
    """Counts.batches at a batch of this generation, from the rows of its epochs."""
    before = sum(r.batches for r in run.epochs if r.generation == run.generation and r.epoch < epoch)
    return before + batch + 1


def _bad_since(run: RunState, count: int) -> int:
    leader = run.ranks.get(0)
    return sum(1 for c in leader.learned.nonfinite.counts if c >= count) if leader else 0


def decide(tx: Transaction, incident: Incident) -> None:
    """Take the next action: act, wait for an examination, only watch, or give up."""
    action = choose(tx.run, incident, tx.policy, may_act=tx.may_act)
    incident.waiting_for = ""
    match action.kind:
        case "watch":
            incident.reason = action.reason
            if incident.state is not IncidentState.WATCHING:
                tx.move(incident, IncidentEvent.TOLD)
            _watch(tx, incident)
            tx.record(incident, f"no action: {action.reason}", Severity.WARNING)
        case "examine" if action.checkpoint:
            examine(tx, action.checkpoint)
            incident.waiting_for = action.checkpoint.digest
        case "adjust" | "rollback":
            _act(tx, incident, action)
        case "stop":
            give_up(tx, incident, action.reason)


def examine(tx: Transaction, checkpoint: CheckpointState) -> None:
    """Have a checkpoint looked at, unless that is under way."""
    if not checkpoint.examining:
        checkpoint.examining = True
        run = tx.run.spec.run
        tx.effects.append(ExamineCheckpoint(tx.effect_id(), run, checkpoint.manifest_name, checkpoint.digest))


def _act(tx: Transaction, incident: Incident, action: Action) -> None:
    run = tx.run
    incident.action, incident.reason = action.kind, action.reason
    order = order_for(run, "adjust" if action.kind == "adjust" else "stop", action.reason)
    plan = make_plan(run, incident, tx.policy, order, action.checkpoint, tx.now_s)
    name = f"adjust-{order.id}.json" if action.kind == "adjust" else f"plan-{plan.generation}.json"
    incident.attempts += 1
    incident.rollbacks += action.kind == "rollback"
    incident.plan, incident.order, incident.settings = plan, with_plan(order, name), plan.settings
    incident.changes = list(plan.changes)
    incident.target = action.checkpoint.digest if action.checkpoint else incident.target
    incident.applied_s = None
    run.last_action_generation = run.generation
    run.last_action_count = run.ranks[0].counts.batches if 0 in run.ranks else 0
    run.rollbacks_used += action.kind == "rollback"
    tx.move(incident, IncidentEvent.ACTED)
    what = (
        "changing the settings in place"
        if action.checkpoint is None
        else f"rolling back to epoch {action.checkpoint.epoch}"
    )
    tx.record(incident, f"{what}: {action.reason}", Severity.WARNING)
    if action.checkpoint:
        why = judge(action.checkpoint, run, tx.policy.rollback)[1]
        tx.notify(f"epoch {action.checkpoint.epoch}'s checkpoint is clean: {why}")
    tx.effects.append(WritePlan(tx.effect_id(), run.spec.run, name, plan))


def give_up(tx: Transaction, incident: Incident, reason: str) -> None:
    """Stop the training, keep everything, and say so."""
    incident.action, incident.reason, incident.outcome = "stop", reason, f"given up: {reason}"
    tx.move(incident, IncidentEvent.SPENT)
    tx.record(incident, f"given up: the training is stopped and every file is kept; {reason}", Severity.CRITICAL)
    tx.alert("given_up", f"{tx.name}: given up, the training is stopped", "", Severity.CRITICAL, incident)
    if tx.may_act and tx.run.alive:
        send(tx, order_for(tx.run, "stop", reason))


def send(tx: Transaction, order: Order) -> None:
    """Send an order, and keep sending it until it is answered."""
    tx.run.pending_order, tx.run.pending_sent_s, tx.run.pending_since_s = (
        order,
        tx.now_s,
        tx.now_s,
    )
    tx.effects.append(SendOrder(order.id, order))


def on_plan_written(tx: Transaction, plan: str, error: str) -> None:
    """The plan is on disk: now the order that names it may go out."""
    incident = tx.run.incident
    if incident is None or incident.plan is None or incident.plan.id != plan or incident.order is None:
        return
    if incident.state is not IncidentState.MITIGATING:
        return
    if error:
        failed(tx, incident, f"the plan could not be written: {error}")
        return
    send(tx, incident.order)


def failed(tx: Transaction, incident: Incident, why: str) -> None:
    """The action came to nothing: on to the next action."""
    if incident.action == "rollback":
        tx.run.totals.rollbacks["failed"] = tx.run.totals.rollbacks.get("failed", 0) + 1
    tx.move(incident, IncidentEvent.FAILED)
    tx.record(incident, f"the action failed: {why}", Severity.CRITICAL)
    tx.run.last_action_count = -1  # nothing was done, so nothing has to cool down
    decide(tx, incident)


def on_answer(tx: Transaction, order_id: str, outcome: str, detail: str) -> None:
    """An order was answered, over the wire or by a receipt; a repeat changes nothing."""
    run, incident = tx.run, tx.run.incident
    pending = run.pending_order
    if pending is None or pending.id != order_id:
        return
    run.pending_order = None
    run.leaving = pending.kind == "stop" and outcome not in ("refused", "failed")
    key = f"{pending.kind}/{outcome}"
    run.totals.orders[key] = run.totals.orders.get(key, 0) + 1
    if incident is None or incident.order is None or incident.order.id != order_id:
        tx.notify(f"the order to {pending.kind} was {outcome}")
        return
    if incident.state is not IncidentState.MITIGATING:
        return
    if outcome in ("refused", "failed"):
        failed(tx, incident, f"the trainer {outcome} the order: {detail}")
        return
    incident.left_at = run.position
    incident.applied_s = tx.now_s
    where = f"epoch {run.position.epoch}, batch {run.position.batch}" if run.position else "a place between two batches"
    if pending.kind == "adjust":
        _applied(tx, incident, f"settings changed in place at {where}")
    else:
        tx.record(incident, f"the training stopped between two batches ({where}; {outcome})")


def _applied(tx: Transaction, incident: Incident, text: str) -> None:
    """The action is in force: from here on the cure has to prove itself."""
    run = tx.run
    run.in_force = incident.settings
    for rank in run.ranks.values():
        clear(rank.learned.nonfinite)
    run.suspicion_s = None
    tx.move(incident, IncidentEvent.APPLIED)
    _watch(tx, incident)
    changed = ", ".join(f"{c.setting} {c.old} -> {c.new}" for c in incident.changes) or "no setting changed"
    tx.record(incident, f"{text}; {changed}")
    kind = "rolled_back" if incident.action == "rollback" else "adjusted"
    tx.alert(
        kind,
        f"{tx.name}: {text}",
        f"Reason: {incident.reason}.",
        Severity.WARNING,
        incident,
    )


def on_plan_applied(tx: Transaction, plan_id: str, when: str, mismatches: tuple[str, ...]) -> None:
    """A generation tells what its settings really are."""
    incident = tx.run.incident
    if incident is None or incident.plan is None or incident.plan.id != plan_id:
        return
    if when == "first step" and incident.state is IncidentState.MITIGATING:
        _resumed(tx, incident)
    for sentence in mismatches:
        tx.record(incident, f"read back at the {when}: {sentence}", Severity.CRITICAL)
    if mismatches:
        tx.alert(
            "settings_differ",
            f"{tx.name}: settings differ from the plan",
            f"Settings that differ: {'; '.join(mismatches)}.",
            Severity.CRITICAL,
            incident,
        )
    elif when == "ramp end":
        tx.record(incident, "warm-up ended; every setting read back is the plan's")


def _resumed(tx: Transaction, incident: Incident) -> None:
    run, plan = tx.run, incident.plan
    incident.resumed_s = tx.now_s
    started = plan.start_epoch if plan else 0
    run.totals.rollbacks["applied"] = run.totals.rollbacks.get("applied", 0) + 1
    _applied(tx, incident, f"rolled back: generation {run.generation} starts at epoch {started}")


def _watch(tx: Transaction, incident: Incident) -> None:
    """(Re)start the watch: how many healthy batches it takes is fixed here."""
    rules = tx.policy.watch
    streak = incident.opened_at.count - incident.onset.count + 1
    interval = streak / max(incident.window_nonfinite, 1)
    acted = incident.attempts > 0
    incident.watch_needed = (
        max(rules.batches_min, round(rules.intervals * interval)) if acted else rules.recovery_batches
    )
    incident.watch_seen = incident.watch_said = 0
    incident.samples_left = None


def on_tick(tx: Transaction) -> None:
    """Send an unanswered order again; an adjustment that is never answered has failed."""
    run = tx.run
    order = run.pending_order
    if order is None or not run.alive:
        return
    incident = run.incident
    late = tx.now_s - run.pending_since_s
    if order.kind == "adjust" and late > ADJUST_TIMEOUT_S and incident and incident.state is IncidentState.MITIGATING:
        run.pending_order = None
        failed(tx, incident, f"the training did not answer the order to change settings for {late:.0f} s")
    elif order.kind == "stop" and not order.plan and late > tx.policy.rollback.grace_s and run.supervisor_pid:
        run.pending_order = None  # with a plan the supervisor watches the clock itself
        tx.notify(texts.not_obeyed(late), Severity.WARNING)
        tx.effects.append(EndTraining(tx.effect_id(), run.spec.run))
    elif tx.now_s - run.pending_sent_s >= ORDER_AGAIN_S:
        run.pending_sent_s = tx.now_s
        tx.effects.append(SendOrder(order.id, order))
