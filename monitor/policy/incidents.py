"""Findings become incidents, and incidents become actions.

Pure: every function takes a Turn and leaves effects in it.
"""

from __future__ import annotations

from monitor.model import (
    EndTraining,
    ExamineCheckpoint,
    Finding,
    Incident,
    IncidentState,
    SendOrder,
    Severity,
    WritePlan,
)
from monitor.policy.diagnosing import diagnosed, in_short
from monitor.policy.lifecycle import Happening
from monitor.policy.options import options_at
from monitor.policy.planning import make_plan, order_for, with_plan
from monitor.policy.rungs import Rung, choose
from monitor.policy.strengthen import current
from monitor.policy.trust import judge
from monitor.policy.turn import Turn
from monitor.state.fold import totals_now
from monitor.state.run import CheckpointState, RunState
from monitor.state.stats import clear
from trainer_hooks.wire.messages import Order

SAMPLES_MAX = 1024  # names of samples kept of an onset
FINDINGS_MAX = 64  # of one incident; the first of each detector is what counts
INCIDENTS_MAX = 1000  # of one run
ORDER_AGAIN_S = 1.0  # an unanswered order is sent again this often
ADJUST_TIMEOUT_S = (
    120.0  # an adjustment is applied at the next boundary; a trainer that validates or saves may take this long
)


def on_findings(turn: Turn, findings: list[Finding]) -> None:
    """Open an incident, or let the one that lives know that it goes on."""
    if not findings:
        return
    incident = turn.run.incident
    if incident is None:
        _open(turn, findings)
        return
    known = {f.detector for f in incident.findings}
    incident.findings.extend(f for f in findings if f.detector not in known and len(incident.findings) < FINDINGS_MAX)
    match incident.state:
        case IncidentState.WATCHING if incident.attempts == 0:
            incident.watch_seen = 0
            if turn.may_act and not incident.waiting_for:  # somebody took the run over who can carry it out
                decide(turn, incident)
        case IncidentState.WATCHING:
            turn.move(incident, Happening.AGAIN)
            turn.tell(incident, f"it is back: {findings[0].summary}", Severity.CRITICAL)
            decide(turn, incident)
        case IncidentState.OPEN | IncidentState.RELAPSED if not incident.waiting_for:
            decide(turn, incident)


def _open(turn: Turn, findings: list[Finding]) -> None:
    run = turn.run
    first = findings[0]
    number = len(run.incidents) + 1
    onset = min((f.since for f in findings), key=lambda p: (p.generation, p.count))
    incident = Incident(
        id=f"{run.spec.run}-i{number}",
        number=number,
        family=first.family,
        severity=max((f.severity for f in findings), key=list(Severity).index),
        state=IncidentState.OPEN,
        opened_s=turn.now_s,
        opened_at=first.at,
        onset=onset,
        findings=findings[:FINDINGS_MAX],
        onset_samples=_samples_since(run, onset.count),
        nonfinite_at_open=totals_now(run).nonfinite_batches,
        window_nonfinite=_bad_since(run, onset.count),
    )
    if run.training:
        incident.training, incident.before = run.training, current(run, run.training)
    diagnosed(turn, incident)
    run.incidents.append(incident)
    del run.incidents[:-INCIDENTS_MAX]
    key = f"{incident.family}/{incident.severity}"
    run.totals.incidents[key] = run.totals.incidents.get(key, 0) + 1
    incident.options = options_at(turn, incident)
    where = f"epoch {first.at.epoch}, batch {first.at.batch}"
    turn.tell(
        incident, f"incident {number} opened at {where}: {'; '.join(f.summary for f in findings)}", Severity.CRITICAL
    )
    title = f"{turn.name}: {first.summary}"
    text = f"Opened at {where}; first bad batch: epoch {onset.epoch}, batch {onset.batch}."
    text += f"{_first_tensor(run, onset.count)}{in_short(incident)}"
    turn.alert("incident_opened", title, text, incident.severity, incident)
    decide(turn, incident)


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


def decide(turn: Turn, incident: Incident) -> None:
    """Take the next rung: act, wait for an examination, only watch, or give up."""
    rung = choose(turn.run, incident, turn.policy, may_act=turn.may_act)
    incident.waiting_for = ""
    match rung.kind:
        case "watch":
            incident.reason = rung.reason
            if incident.state is not IncidentState.WATCHING:
                turn.move(incident, Happening.TOLD)
            _watch(turn, incident)
            turn.tell(incident, f"nothing is done about it: {rung.reason}", Severity.WARNING)
        case "examine" if rung.checkpoint:
            examine(turn, rung.checkpoint)
            incident.waiting_for = rung.checkpoint.digest
        case "adjust" | "rollback":
            _act(turn, incident, rung)
        case "stop":
            give_up(turn, incident, rung.reason)


def examine(turn: Turn, checkpoint: CheckpointState) -> None:
    """Have a checkpoint looked at, unless that is under way."""
    if not checkpoint.examining:
        checkpoint.examining = True
        run = turn.run.spec.run
        turn.effects.append(ExamineCheckpoint(turn.effect_id(), run, checkpoint.manifest_name, checkpoint.digest))


def _act(turn: Turn, incident: Incident, rung: Rung) -> None:
    run = turn.run
    incident.rung, incident.reason = rung.kind, rung.reason
    order = order_for(run, "adjust" if rung.kind == "adjust" else "stop", rung.reason)
    plan = make_plan(run, incident, turn.policy, order, rung.checkpoint, turn.now_s)
    name = f"adjust-{order.id}.json" if rung.kind == "adjust" else f"plan-{plan.generation}.json"
    incident.attempts += 1
    incident.rollbacks += rung.kind == "rollback"
    incident.plan, incident.order, incident.settings = plan, with_plan(order, name), plan.settings
    incident.changes = list(plan.changes)
    incident.target = rung.checkpoint.digest if rung.checkpoint else incident.target
    incident.applied_s = None
    run.last_action_generation = run.generation
    run.last_action_count = run.ranks[0].counts.batches if 0 in run.ranks else 0
    run.rollbacks_used += rung.kind == "rollback"
    turn.move(incident, Happening.ACTED)
    what = "adjusting in place" if rung.checkpoint is None else f"rolling back to epoch {rung.checkpoint.epoch}"
    turn.tell(incident, f"{what}: {rung.reason}", Severity.WARNING)
    if rung.checkpoint:
        why = judge(rung.checkpoint, run, turn.policy.rollback)[1]
        turn.say(f"epoch {rung.checkpoint.epoch}'s checkpoint is clean: {why}")
    turn.effects.append(WritePlan(turn.effect_id(), run.spec.run, name, plan))


def give_up(turn: Turn, incident: Incident, reason: str) -> None:
    """Stop the training, keep everything, and say so."""
    incident.rung, incident.reason, incident.outcome = "stop", reason, f"given up: {reason}"
    turn.move(incident, Happening.SPENT)
    turn.tell(incident, f"given up, the training is stopped and everything is kept: {reason}", Severity.CRITICAL)
    turn.alert("given_up", f"{turn.name}: given up", reason, Severity.CRITICAL, incident)
    if turn.may_act and turn.run.alive:
        send(turn, order_for(turn.run, "stop", reason))


def send(turn: Turn, order: Order) -> None:
    """Send an order, and keep sending it until it is answered."""
    turn.run.pending_order, turn.run.pending_sent_s, turn.run.pending_since_s = order, turn.now_s, turn.now_s
    turn.effects.append(SendOrder(order.id, order))


def on_plan_written(turn: Turn, plan: str, error: str) -> None:
    """The plan is on disk: now the order that names it may go out."""
    incident = turn.run.incident
    if incident is None or incident.plan is None or incident.plan.id != plan or incident.order is None:
        return
    if incident.state is not IncidentState.MITIGATING:
        return
    if error:
        failed(turn, incident, f"the plan could not be written: {error}")
        return
    send(turn, incident.order)


def failed(turn: Turn, incident: Incident, why: str) -> None:
    """The action came to nothing: on to the next rung."""
    if incident.rung == "rollback":
        turn.run.totals.rollbacks["failed"] = turn.run.totals.rollbacks.get("failed", 0) + 1
    turn.move(incident, Happening.FAILED)
    turn.tell(incident, f"that failed: {why}", Severity.CRITICAL)
    turn.run.last_action_count = -1  # nothing was done, so nothing has to cool down
    decide(turn, incident)


def on_answer(turn: Turn, order_id: str, outcome: str, detail: str) -> None:
    """An order was answered, over the wire or by a receipt; a repeat changes nothing."""
    run, incident = turn.run, turn.run.incident
    pending = run.pending_order
    if pending is None or pending.id != order_id:
        return
    run.pending_order = None
    run.leaving = pending.kind == "stop" and outcome not in ("refused", "failed")
    key = f"{pending.kind}/{outcome}"
    run.totals.orders[key] = run.totals.orders.get(key, 0) + 1
    if incident is None or incident.order is None or incident.order.id != order_id:
        turn.say(f"the order to {pending.kind} was {outcome}")
        return
    if incident.state is not IncidentState.MITIGATING:
        return
    if outcome in ("refused", "failed"):
        failed(turn, incident, f"the trainer {outcome} the order: {detail}")
        return
    incident.left_at = run.position
    incident.applied_s = turn.now_s
    where = f"epoch {run.position.epoch}, batch {run.position.batch}" if run.position else "a batch boundary"
    if pending.kind == "adjust":
        _applied(turn, incident, f"adjusted in place at {where}")
    else:
        turn.tell(incident, f"the training stopped at a batch boundary ({where}; {outcome})")


def _applied(turn: Turn, incident: Incident, text: str) -> None:
    """The action is in force: from here on the cure has to prove itself."""
    run = turn.run
    run.in_force = incident.settings
    for rank in run.ranks.values():
        clear(rank.learned.nonfinite)
    run.suspicion_s = None
    turn.move(incident, Happening.APPLIED)
    _watch(turn, incident)
    changed = ", ".join(f"{c.setting} {c.old} -> {c.new}" for c in incident.changes) or "no setting changed"
    turn.tell(incident, f"{text}; {changed}")
    kind = "rolled_back" if incident.rung == "rollback" else "adjusted"
    turn.alert(
        kind,
        f"{turn.name}: {text}",
        f"{incident.reason}. Settings: {changed}.",
        Severity.WARNING,
        incident,
    )


def on_plan_applied(turn: Turn, plan_id: str, when: str, mismatches: tuple[str, ...]) -> None:
    """A generation tells what its settings really are."""
    incident = turn.run.incident
    if incident is None or incident.plan is None or incident.plan.id != plan_id:
        return
    if when == "first step" and incident.state is IncidentState.MITIGATING:
        _resumed(turn, incident)
    for sentence in mismatches:
        turn.tell(incident, f"read back at the {when}: {sentence}", Severity.CRITICAL)
    if mismatches:
        turn.alert(
            "settings_differ",
            f"{turn.run.spec.run}: settings differ from the plan",
            "; ".join(mismatches),
            Severity.CRITICAL,
            incident,
        )
    elif when == "ramp end":
        turn.tell(incident, "warm-up ended; every setting read back is the plan's")


def _resumed(turn: Turn, incident: Incident) -> None:
    run, plan = turn.run, incident.plan
    incident.resumed_s = turn.now_s
    started = plan.start_epoch if plan else 0
    run.totals.rollbacks["applied"] = run.totals.rollbacks.get("applied", 0) + 1
    _applied(turn, incident, f"rolled back: generation {run.generation} starts at epoch {started}")


def _watch(turn: Turn, incident: Incident) -> None:
    """(Re)start the watch: how many healthy batches it takes is fixed here."""
    rules = turn.policy.watch
    spell = incident.opened_at.count - incident.onset.count + 1
    interval = spell / max(incident.window_nonfinite, 1)
    acted = incident.attempts > 0
    incident.watch_needed = (
        max(rules.batches_min, round(rules.intervals * interval)) if acted else rules.recovery_batches
    )
    incident.watch_seen = incident.watch_said = 0
    incident.samples_left = None


def on_tick(turn: Turn) -> None:
    """Send an unanswered order again; an adjustment that is never answered has failed."""
    run = turn.run
    order = run.pending_order
    if order is None or not run.alive:
        return
    incident = run.incident
    late = turn.now_s - run.pending_since_s
    if order.kind == "adjust" and late > ADJUST_TIMEOUT_S and incident and incident.state is IncidentState.MITIGATING:
        run.pending_order = None
        failed(turn, incident, f"the order to adjust was not answered for {late:.0f} s")
    elif order.kind == "stop" and not order.plan and late > turn.policy.rollback.grace_s and run.shim_pid:
        run.pending_order = None  # with a plan the shim watches the clock itself
        turn.say(
            f"the order to stop was not obeyed for {late:.0f} s: its supervisor ends the training", Severity.WARNING
        )
        turn.effects.append(EndTraining(turn.effect_id(), run.spec.run))
    elif turn.now_s - run.pending_sent_s >= ORDER_AGAIN_S:
        run.pending_sent_s = turn.now_s
        turn.effects.append(SendOrder(order.id, order))
