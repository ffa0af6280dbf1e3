"""What the policy does when generations, trainings and the run begin and end, and what a person asks for. Pure."""

from __future__ import annotations

from monitor.core.format import count, plural
from monitor.core.model import (
    ActionKind,
    AlertKind,
    CommandGiven,
    CommandKind,
    Family,
    GenerationExited,
    Incident,
    IncidentAcknowledged,
    IncidentState,
    KeepState,
    Position,
    RunEnded,
    Severity,
    TrainingVanished,
)
from monitor.core.model.outcomes import FAILURES, OUTCOME_TEXT, outcome_of
from monitor.core.policy import good_news, texts
from monitor.core.policy.go_back import goes_back, newest_state
from monitor.core.policy.incidents import decide, enter, give_up, send
from monitor.core.policy.lifecycle import IncidentEvent
from monitor.core.policy.planning import order_for
from monitor.core.policy.restarts import why_none
from monitor.core.policy.return_proof import compare_first_losses
from monitor.core.policy.transaction import NAME_MAX, Transaction
from monitor.core.state.crash import crash_of, without_crash
from monitor.core.state.epochs import totals_of_run
from monitor.core.state.run import TrainingState
from trainer_hooks.wire.messages import TrainingEnded, TrainingStarted
from trainer_hooks.wire.run_documents import GenerationOutcome, RunOutcome
from trainer_hooks.wire.words import OrderKind, TrainingEnd


def on_generation_started(tx: Transaction, *, news: bool) -> None:
    """A new generation begins: orders to the one before are void."""
    if not news:
        return
    tx.run.ledger.not_restarted = ""
    for training in tx.run.trainings.values():
        ledger = training.ledger
        ledger.pending, ledger.last_action, ledger.leaving, ledger.answered = None, None, False, {}


def on_training_started(tx: Transaction, event: TrainingStarted) -> None:
    """The trainer reported its settings. A training that started before in the same process is over."""
    for other in tx.run.trainings.values():
        if other is not tx.training and other.incident and other.over and not goes_back(other.incident):
            end = f"training {other.number} of the script ended"
            _close(tx.of(other), other.incident, IncidentEvent.RUN_ENDED, end)
        _pass_on(tx, other)
    if not event.plan_id and not (tx.training.generation > 1 and tx.training.incident):
        tx.ledger.in_force = None
    where = f"{event.framework} {event.versions.get(event.framework, '')}".strip()
    tx.notify(f"training {tx.training.number} started ({where}, {event.device}): {texts.planned(event)}")


def _pass_on(tx: Transaction, other: TrainingState) -> None:
    """A stop of the run that the training before did not see any more is for the one that begins."""
    pending = other.ledger.pending
    if other is tx.training or not other.over or pending is None or not pending.of_run:
        return
    other.ledger.pending = None
    if tx.ledger.pending is None:
        send(tx, order_for(tx, OrderKind.STOP, pending.order.reason), of_run=True)


def on_training_ended(tx: Transaction, event: TrainingEnded) -> None:
    """train() returned or raised. A stop of it alone that it did not see is void: another one may have begun."""
    pending = tx.ledger.pending
    if pending and pending.order.kind == OrderKind.STOP and not pending.order.plan and not pending.of_run:
        tx.ledger.pending = None
    if event.how == TrainingEnd.FINISHED:
        shown = ", ".join(f"{name} {value:.4g}" for name, value in list(event.metrics.items())[:4])
        tx.notify(f"the training finished after epoch {event.epoch}{': ' + shown if shown else ''}")
        for incident in tx.ledger.incidents[-1:]:
            tx.report(incident)
        good_news.on_finished(tx, event)


def on_training_vanished(tx: Transaction, event: TrainingVanished) -> None:
    """Its process was killed, and the run goes on without it."""
    number, incident = tx.training.number, tx.training.incident
    if tx.run.dead:  # the whole generation is gone, and it is decided what follows
        return
    tx.ledger.pending = None
    tx.notify(texts.vanished(tx.training, event.pid), Severity.WARNING)
    if incident and not goes_back(incident):
        _close(tx, incident, IncidentEvent.RUN_ENDED, f"the process of training {number} was killed")


def on_generation_exited(tx: Transaction, event: GenerationExited) -> None:
    """The process is gone."""
    exit_ = event.exit
    for training in tx.run.trainings.values():
        _left(tx.of(training), event)
    obeyed = any(training.ledger.leaving for training in tx.run.trainings.values())
    outcome = outcome_of(exit_, order_obeyed=obeyed, training_finished=_has_finished(tx))
    ending = f"generation {exit_.number} {OUTCOME_TEXT[outcome]} ({texts.exit_text(exit_)})"
    crash = crash_of(tx.run) if outcome in FAILURES else ""
    if event.relaunch:
        tx.notify(f"{ending}; starting generation {exit_.number + 1} from its plan")
    elif event.with_machine:
        _died_with_machine(tx)
    elif outcome in FAILURES:
        why = why_none(tx.run)
        because = f" ({why})" if why else ""
        tx.notify(f"{ending}, and is not started again{because}", Severity.CRITICAL)
        tx.alert(
            AlertKind.RUN_FAILED,
            f"{tx.name}: training {'ended' if outcome is GenerationOutcome.UNKNOWN else 'failed'} "
            f"({texts.exit_text(exit_)})",
            texts.run_failed(tx.run, crash, why, newest_state(tx.training, tx.policy)),
            Severity.CRITICAL,
        )
    if tx.run.supervisor_pid == 0:
        _on_vanished(tx)


def _died_with_machine(tx: Transaction) -> None:
    """A power cut, a frozen machine, or a reboot that somebody wanted."""
    text = texts.died_with_machine(tx.run, tx.training, newest_state(tx.training, tx.policy))
    tx.notify(text, Severity.CRITICAL)
    tx.alert(AlertKind.RUN_FAILED, f"{tx.name}: it died with the machine", text, Severity.CRITICAL)


def _left(tx: Transaction, event: GenerationExited) -> None:
    """One training of the generation that is gone."""
    incident, training = tx.training.incident, tx.training
    tx.ledger.pending = None
    if incident is None:
        return
    if incident.state is IncidentState.MITIGATING and incident.action.left_at is None:
        incident.action.left_at = training.left_at
    in_process = incident.action.plan is not None and incident.action.plan.in_process
    if event.relaunch and incident.action.kind == ActionKind.ROLLBACK and not in_process:
        incident.totals.batches_discarded += training.discarded


def _has_finished(tx: Transaction) -> bool:
    """True where the last training of the generation reported that it finished, and none was under way."""
    run, last = tx.run, tx.training
    left = [each for each in run.trainings.values() if each.generation == run.generation and each.started]
    return last.how == TrainingEnd.FINISHED and last.over and all(each.over for each in left)


def on_run_ended(tx: Transaction, event: RunEnded) -> None:
    """The supervisor starts no more generations."""
    run, how, detail = tx.run, event.how, event.detail
    for training in tx.run.trainings.values():
        training.ledger.pending = None
        incident = training.incident
        if incident and how == RunOutcome.HELD:
            give_up(tx.of(training), incident, detail)
        elif incident:
            brief = without_crash(run, detail)
            why = f"the run {how} ({brief})" if brief else f"the run {how}"
            _close(tx.of(training), incident, IncidentEvent.RUN_ENDED, why)
    totals = totals_of_run(run)
    tx.notify(
        f"run {how}{': ' + detail if detail else ''}; "
        f"{count(totals.nonfinite_batches)} non-finite of {plural(totals.batches, 'batch')} in all{texts.not_seen(run)}"
    )
    if not any(training.starts for training in tx.run.trainings.values()):
        tx.notify(texts.no_training(), Severity.WARNING)
    for training in tx.run.trainings.values():
        for known in training.ledger.incidents:
            tx.of(training).report(known)
    good_news.on_run_ended(tx, event)
    tx.effects.append(KeepState(tx.effect_id(), run.spec.run))


def _close(tx: Transaction, incident: Incident, incident_event: IncidentEvent, why: str) -> None:
    compare_first_losses(tx, incident, over=True)
    seen = (
        f"{count(incident.watch.seen)} of {plural(incident.watch.needed, 'healthy batch')} seen"
        if incident.watch.needed
        else "nothing proven"
    )
    incident.outcome = f"{why}; {seen}"
    tx.move(incident, incident_event)
    tx.record(incident, texts.ended_line(tx.run, tx.training, incident, tx.now_s), Severity.WARNING)
    title = f"{tx.name}: incident {incident.number} ended before training was proven healthy"
    tx.alert(AlertKind.CLOSED, title, f"How it ended: {incident.outcome}.", Severity.WARNING, incident)


def on_supervisor_changed(tx: Transaction, *, trains: bool = True) -> None:
    """The supervisor died (0): training goes on, and nobody can relaunch it. Or another one took over.

    trains: False where the training died too, which is reported by itself.
    """
    run = tx.run
    if run.ended:
        return
    if run.supervisor_pid:
        tx.notify(f"the run has a supervisor again (process {run.supervisor_pid})")
        return
    if not trains:
        tx.notify("the supervisor of this run has died", Severity.WARNING)
        return
    remedy = texts.no_supervisor(run.spec.run)
    tx.notify(f"the supervisor of this run has died. {remedy}", Severity.CRITICAL)
    tx.alert(AlertKind.SUPERVISOR_LOST, f"{tx.name}: its supervisor has died", remedy, Severity.CRITICAL)


def _on_vanished(tx: Transaction) -> None:
    """The process is gone, and no supervisor can report how it ended."""
    for training in tx.run.trainings.values():
        if training.incident:
            _close(tx.of(training), training.incident, IncidentEvent.RUN_VANISHED, "the training vanished")


def on_acknowledged(tx: Transaction, given: IncidentAcknowledged) -> None:
    """A person has seen an incident. A repeat, and an incident that is not known, change nothing."""
    for training in tx.run.trainings.values():
        for incident in training.ledger.incidents:
            if incident.id == given.incident and incident.acknowledged_s is None:
                incident.acknowledged_s, incident.acknowledged_by = tx.now_s, given.by[:NAME_MAX]
                tx.of(training).record(incident, f"{incident.acknowledged_by} acknowledged incident {incident.number}")


def on_command(tx: Transaction, command: CommandGiven) -> None:
    """A person asks for a stop, a rollback, or strengthened settings."""
    run, incident = tx.run, tx.training.incident
    if not run.alive:
        tx.notify(f"{texts.wish(command)}, but no training process is running")
        return
    tx.notify(texts.wish(command), Severity.WARNING)
    if command.kind == CommandKind.STOP:
        going = [each for each in run.trainings.values() if run.trains(each) and each.started is not None]
        for training in going or [tx.training]:
            _stop(tx.of(training), command.by)
        return
    if command.kind == CommandKind.ADJUST:
        _adjust(tx, command)
        return
    if run.supervisor_pid == 0:
        remedy = texts.no_supervisor(run.spec.run)
        tx.notify(f"cannot roll back: the supervisor of this run has died. {remedy}", Severity.CRITICAL)
        return
    if incident is None or incident.state is IncidentState.MITIGATING:
        _roll_back_now(tx, _asked_for(tx, command)) if incident is None else tx.notify("a rollback has begun already")
        return
    _roll_back_now(tx, incident)


def _adjust(tx: Transaction, command: CommandGiven) -> None:
    """Other settings in place. An incident that is live has an action of its own, which is not mixed with another."""
    incident = tx.training.incident
    if not tx.may_act:
        tx.notify("cannot adjust: this run is only watched", Severity.WARNING)
    elif tx.training.position is None:
        tx.notify("cannot adjust: no batch of the training has ended yet", Severity.WARNING)
    elif incident is not None and incident.state is IncidentState.MITIGATING:
        tx.notify("another action has begun already")
    elif incident is not None:
        tx.notify(f"cannot adjust: incident {incident.number} is open, and has an action of its own", Severity.WARNING)
    else:
        opened = _asked_for(tx, command)
        opened.adjusting_asked = True
        decide(tx, opened)


def _stop(tx: Transaction, by: str) -> None:
    incident = tx.training.incident
    if incident:
        incident.outcome = f"{by} asked to stop the run"
        tx.move(incident, IncidentEvent.OPERATOR)
        tx.report(incident)
    send(tx, order_for(tx, OrderKind.STOP, f"{by} asked for it"), of_run=True)


def _asked_for(tx: Transaction, command: CommandGiven) -> Incident:
    at = tx.training.position or Position(tx.training.generation, 1, 0, 0)
    id_, number = tx.incident_id()
    incident = Incident(id_, number, Family.OPERATOR, Severity.INFO, IncidentState.OPEN, tx.now_s, at, at)
    enter(tx, incident)
    tx.record(incident, f"incident {number} opened: {texts.wish(command)}")
    return incident


def _roll_back_now(tx: Transaction, incident: Incident) -> None:
    """What a person asks for is not an adjustment, whatever the table says."""
    incident.asked = True
    decide(tx, incident)
