"""What the policy does about orders: they go out with their plan, are answered, take effect or fail. Pure."""

from __future__ import annotations

from monitor.core.format import batch_at, batches, duration, saved_place
from monitor.core.model import (
    ActionKind,
    AlertKind,
    EndTraining,
    Family,
    Incident,
    IncidentAction,
    IncidentState,
    SendOrder,
    Severity,
    TrialStep,
)
from monitor.core.policy import texts, trial
from monitor.core.policy.incidents import begin_watch, decide, send
from monitor.core.policy.lifecycle import IncidentEvent
from monitor.core.policy.transaction import Transaction
from trainer_hooks.wire.plan import Receipt
from trainer_hooks.wire.words import NOT_DONE, OrderKind, OrderOutcome, ReadBack

LEFT: dict[str, str] = {
    OrderOutcome.APPLIED: "the training stopped between two batches",
    OrderOutcome.KILLED: "the training did not stop in time and was ended",
    OrderOutcome.EXITED: "the training ended before it carried out the order",
}

ORDER_AGAIN_S = 1.0  # an unanswered order is sent again this often
ADJUST_TIMEOUT_S = 120.0  # an order waits for the next boundary between batches: validation and saving may take so long


def on_plan_written(tx: Transaction, plan: str, error: str) -> None:
    """The plan is on disk: now the order that names it may go out."""
    for training in tx.run.trainings.values():
        incident = training.incident
        if incident is None or incident.state is not IncidentState.MITIGATING:
            continue
        action = incident.action
        if action.plan is None or action.plan.id != plan or action.order is None:
            continue
        if error and tx.run.dead:
            _no_plan(tx.of(training), incident, error)
        elif error:
            failed(tx.of(training), incident, f"the plan could not be written: {error}")
        elif not tx.run.dead:  # else nobody is there who could get it: the supervisor starts from the plan
            send(tx.of(training), action.order)


def _no_plan(tx: Transaction, incident: Incident, error: str) -> None:
    """Nothing else can be done for a training that died: its supervisor waits, and the run ends."""
    tx.run.ledger.not_restarted = f"the plan could not be written: {error}"
    tx.move(incident, IncidentEvent.FAILED)
    tx.record(incident, f"the action failed: {tx.run.ledger.not_restarted}", Severity.CRITICAL)


def failed(tx: Transaction, incident: Incident, why: str) -> None:
    """The action came to nothing: on to the next action."""
    if incident.action.kind == ActionKind.ROLLBACK:
        tx.ledger.counters.rollbacks[OrderOutcome.FAILED] = tx.ledger.counters.rollbacks.get(OrderOutcome.FAILED, 0) + 1
    tx.move(incident, IncidentEvent.FAILED)
    tx.record(incident, f"the action failed: {why}", Severity.CRITICAL)
    tx.ledger.last_action = None  # nothing was done, so nothing has to cool down
    in_place = incident.action.kind in (ActionKind.ADJUST, ActionKind.UNDO)
    if in_place and incident.damaged_at is None:  # nothing else is tried on a clean state
        incident.trial.step = TrialStep.SETTLED
        incident.action = IncidentAction(
            ActionKind.GO_ON, f"the state is clean, and the settings could not be changed: {why}"
        )
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
        tx.notify(texts.order_answer(pending.kind, outcome, detail))
        return
    if incident.state is not IncidentState.MITIGATING:
        return
    if outcome == OrderOutcome.DECLINED:
        _declined(tx, incident, detail)
        return
    if outcome in NOT_DONE and pending.kind == OrderKind.GO_BACK:
        _start_again_instead(tx, incident, texts.not_carried_out(outcome, detail))
        return
    if outcome in NOT_DONE:
        failed(tx, incident, texts.not_carried_out(outcome, detail))
        return
    incident.action.left_at = tx.training.position
    incident.action.applied_s = tx.now_s
    at = tx.training.position
    where = batch_at(at.epoch, at.batch) if at else "a place between two batches"
    if pending.kind == OrderKind.GO_BACK:
        _gone_back(tx, incident, detail)
    elif pending.kind == OrderKind.ADJUST:
        done = "put back" if incident.action.kind == ActionKind.UNDO else "changed"
        _applied(tx, incident, f"settings {done} in place at {where}")
    else:
        tx.record(incident, f"{LEFT.get(outcome, LEFT[OrderOutcome.APPLIED])} ({where})")


def _applied(tx: Transaction, incident: Incident, text: str) -> None:
    """The action is in force: from here on the cure has to prove itself."""
    plan = incident.action.plan
    tx.ledger.in_force = plan.settings if plan is not None else None
    tx.ledger.own_in_force = plan is not None and plan.own_settings
    tx.answer_nonfinite()
    tx.ledger.suspicion_s = None
    tx.move(incident, IncidentEvent.APPLIED)
    begin_watch(tx, incident)
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
    generation = f"generation {tx.training.generation}"
    if incident.family == Family.CRASH and plan is not None and plan.target is not None:
        _applied(tx, incident, f"started again: {generation} goes on from {saved_place(*plan.target.holds)}")
    else:
        _applied(tx, incident, f"rolled back: {generation} starts at epoch {started}")


def _gone_back(tx: Transaction, incident: Incident, detail: str) -> None:
    """It goes on in its process, from the older state."""
    incident.action.resumed_s = tx.now_s
    incident.totals.batches_discarded += tx.training.discarded
    trial.gone_back(incident.trial, tx.training)
    tx.ledger.counters.rollbacks[OrderOutcome.APPLIED] = tx.ledger.counters.rollbacks.get(OrderOutcome.APPLIED, 0) + 1
    if tx.training.started is not None and tx.training.started.keeps_position:
        detail = f"{detail}; the training of {batches(tx.training.discarded)} is lost"
    _applied(tx, incident, f"rolled back in its process: {detail}")


def _start_again_instead(tx: Transaction, incident: Incident, why: str) -> None:
    """It can't go back in its process: the same by a new start, which counts as the same try."""
    tx.ledger.no_going_back_in = tx.training.generation
    _take_back(tx, incident)
    tx.record(incident, f"it cannot go back in its process, so it is started again: {why}", Severity.WARNING)
    decide(tx, incident)


def _take_back(tx: Transaction, incident: Incident) -> None:
    """The rollback was not tried."""
    incident.totals.attempts -= 1
    incident.totals.rollbacks -= 1
    tx.ledger.rollbacks_used -= 1
    tx.ledger.last_action = None
    tx.move(incident, IncidentEvent.FAILED)


def _declined(tx: Transaction, incident: Incident, detail: str) -> None:
    """It has recovered by itself: what it has trained since is not thrown away."""
    _take_back(tx, incident)
    reason = f"the training had recovered by itself before the order came: {detail}"
    incident.action = IncidentAction(ActionKind.GO_ON, reason, declined=True)
    tx.move(incident, IncidentEvent.ONLY_WATCHED)
    begin_watch(tx, incident)
    tx.answer_nonfinite()
    tx.ledger.suspicion_s = None
    tx.record(incident, f"it does not go back: {reason}", Severity.WARNING)
    title = f"{tx.name}: training goes on, it has recovered by itself"
    tx.alert(AlertKind.GOES_ON, title, f"Reason: {reason}.", Severity.WARNING, incident)


def on_tick(tx: Transaction) -> None:
    """Send an unanswered order again; an adjustment that is never answered has failed."""
    pending, run, incident = tx.ledger.pending, tx.run, tx.training.incident
    if pending is None or not run.alive:
        return
    order, late = pending.order, tx.now_s - pending.since_s
    mitigating = incident is not None and incident.state is IncidentState.MITIGATING
    if order.kind == OrderKind.ADJUST and late > ADJUST_TIMEOUT_S and incident and mitigating:
        tx.ledger.pending = None
        failed(tx, incident, f"the training did not answer the order to change settings for {duration(late)}")
    elif order.kind == OrderKind.GO_BACK and late > ADJUST_TIMEOUT_S and incident and mitigating:
        tx.ledger.pending = None
        _start_again_instead(tx, incident, f"no answer for {duration(late)}")
    elif order.kind == OrderKind.STOP and not order.plan and late > tx.policy.rollback.grace_s and run.supervisor_pid:
        tx.ledger.pending = None  # with a plan the supervisor watches the clock itself
        tx.notify(texts.not_obeyed(late), Severity.WARNING)
        tx.effects.append(EndTraining(tx.effect_id(), run.spec.run))
    elif tx.now_s - pending.sent_s >= ORDER_AGAIN_S:
        pending.sent_s = tx.now_s
        tx.effects.append(SendOrder(order.id, order))
