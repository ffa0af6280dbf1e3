"""Beginnings and ends: of generations, of the run, of its supervisor; and what a person asks for. Pure."""

from __future__ import annotations

from monitor.core.model import (
    CommandGiven,
    GenerationExited,
    Incident,
    IncidentState,
    KeepState,
    Position,
    Severity,
    Verdict,
)
from monitor.core.policy import texts
from monitor.core.policy.cure_watch import keep
from monitor.core.policy.incidents import decide, give_up, send
from monitor.core.policy.lifecycle import IncidentEvent
from monitor.core.policy.planning import order_for
from monitor.core.policy.transaction import Transaction
from monitor.core.state.fold import archive_generation, totals_now
from monitor.core.state.intervals import fold_start
from monitor.core.state.run import CheckpointState, Learned, RankState
from monitor.core.state.stats import snapshot_of
from trainer_hooks.wire.messages import TrainingEnded, TrainingStarted

TRAININGS_MAX = 200


def on_generation_started(tx: Transaction, number: int, nonce: str, pid: int, supervisor_pid: int) -> None:
    """A new generation begins; an old or repeated one changes only who its supervisor is."""
    run = tx.run
    if number < run.generation:
        return
    if number == run.generation:
        run.nonce, run.pid = nonce, pid or run.pid
        if supervisor_pid:
            on_supervisor_changed(tx, supervisor_pid)
        return
    if run.alive:
        archive_generation(run)
    run.generation, run.nonce, run.pid, run.supervisor_pid = number, nonce, pid, supervisor_pid
    run.alive, run.ended, run.ended_s, run.ended_detail = True, "", None, ""
    run.training, run.training_over, run.pending_order, run.phase = None, False, None, "idle"
    run.last_action_count, run.leaving = -1, False
    incident = run.incident
    target = _target(tx, incident) if incident else None
    learned = snapshot_of(target.learned) if target and target.learned else Learned()
    learned.uncured = 0  # the target was verified
    run.ranks[0] = RankState(0, learned=learned)
    fold_start(run, tx.now_s)


def _target(tx: Transaction, incident: Incident) -> CheckpointState | None:
    return next((c for c in tx.run.checkpoints if c.digest == incident.target), None)


def on_training_started(tx: Transaction, event: TrainingStarted) -> None:
    """The trainer told its settings. A second train() in the same process is another training of the run."""
    run = tx.run
    if run.training is not None and run.training.ordinal != event.ordinal and run.incident:
        _close(tx, run.incident, IncidentEvent.RUN_ENDED, f"training {run.training.ordinal} of the script ended")
    run.training, run.training_over = event, False
    fold_start(run, tx.now_s)
    run.trainings.append(event)
    del run.trainings[1:-TRAININGS_MAX]
    if not event.plan_id:
        run.in_force = run.in_force if run.generation > 1 and run.incident else None
    where = f"{event.framework} {event.versions.get(event.framework, '')}".strip()
    epochs = f"epochs {event.start_epoch} to {event.epochs}, {event.batches_per_epoch} batches each"
    tx.notify(f"training {event.ordinal} started ({where}, {event.device}): {epochs}")


def on_training_ended(tx: Transaction, event: TrainingEnded) -> None:
    """train() returned or raised."""
    run = tx.run
    run.training_over, run.training_how = True, event.how
    run.final_metrics = event.metrics or run.final_metrics
    if event.how == "finished":
        shown = ", ".join(f"{name} {value:.4g}" for name, value in list(event.metrics.items())[:4])
        tx.notify(f"the training finished after epoch {event.epoch}{': ' + shown if shown else ''}")
        for incident in run.incidents[-1:]:
            tx.report(incident)


def on_generation_exited(tx: Transaction, event: GenerationExited) -> None:
    """The process is gone. With a relaunch, its branch after the checkpoint is abandoned."""
    run, exit_ = tx.run, event.exit
    if exit_.number != run.generation or not run.alive:
        return
    incident = run.incident
    if incident and incident.state is IncidentState.MITIGATING and incident.left_at is None:
        incident.left_at = run.position
    if event.relaunch and incident and incident.action == "rollback":
        _abandon(tx, incident)
    archive_generation(run)
    run.alive, run.exited_s, run.pending_order = False, exit_.ended_s, None
    how = texts.exit_text(exit_)
    if event.relaunch:
        made_to = f", after {exit_.escalation}" if exit_.escalation else ""
        tx.notify(f"generation {exit_.number} has ended ({how}{made_to}); it is started again")
    elif _failed(tx, event):
        name = tx.name
        tx.notify(f"the training ended although nobody asked for it: {how}", Severity.CRITICAL)
        tx.alert(
            "run_failed",
            f"{name}: the training ended ({how})",
            texts.RUN_FAILED,
            Severity.CRITICAL,
        )


def _failed(tx: Transaction, event: GenerationExited) -> bool:
    """An end that nobody asked for: no order, no Ctrl-C, and not after the training was done."""
    exit_, run = event.exit, tx.run
    bad = exit_.code != 0 or exit_.signal is not None
    return bad and not (exit_.asked or run.leaving or run.training_how == "finished")


def _abandon(tx: Transaction, incident: Incident) -> None:
    """Condemn what came after the target, in the rows of epochs and among the checkpoints."""
    run, target = tx.run, _target(tx, incident)
    if target is None:
        return
    for checkpoint in run.checkpoints:
        if checkpoint.ordinal == target.ordinal and checkpoint.epoch > target.epoch:
            checkpoint.abandoned = True
    lost = [r for r in run.epochs if r.epoch > target.epoch and r.status not in ("discarded", "redone")]
    for row in lost:
        row.status = "discarded"
    discarded = sum(r.batches for r in lost)
    incident.batches_discarded += discarded
    run.totals.batches_discarded += discarded


def on_first_batch(tx: Transaction) -> None:
    """The first batch of a generation: the downtime since the last one is known."""
    run = tx.run
    run.resumed_s = tx.now_s
    if run.exited_s is not None:
        down = max(tx.now_s - run.exited_s, 0.0)
        run.downtime_s += down
        if run.incident:
            run.incident.downtime_s += down
        run.exited_s = None


def on_run_ended(tx: Transaction, how: str, detail: str) -> None:
    """The supervisor will start nothing more."""
    run = tx.run
    if run.ended:
        return
    if run.alive:
        archive_generation(run)
    run.alive, run.ended, run.ended_detail, run.ended_s, run.pending_order = False, how, detail, tx.now_s, None
    incident = run.incident
    if incident and how == "held":
        give_up(tx, incident, detail)
    elif incident:
        _close(tx, incident, IncidentEvent.RUN_ENDED, f"the run {how} ({detail})" if detail else f"the run {how}")
    totals = totals_now(run)
    tx.notify(
        f"run {how}{': ' + detail if detail else ''}; "
        f"{totals.nonfinite_batches} non-finite of {totals.batches} batches in all"
    )
    if not run.trainings:
        tx.notify(
            texts.NO_TRAINING,
            Severity.WARNING,
        )
    for known in run.incidents:
        tx.report(known)
    tx.effects.append(KeepState(tx.effect_id(), run.spec.run))


def _close(tx: Transaction, incident: Incident, incident_event: IncidentEvent, why: str) -> None:
    seen = (
        f"{incident.watch_seen} of {incident.watch_needed} healthy batches seen"
        if incident.watch_needed
        else "nothing proven"
    )
    incident.outcome = f"{why}; {seen}"
    tx.move(incident, incident_event)
    tx.record(incident, texts.ended_line(tx.run, incident, tx.now_s), Severity.WARNING)
    title = f"{tx.name}: incident {incident.number} ended before training was proven healthy"
    tx.alert("closed", title, f"How it ended: {incident.outcome}.", Severity.WARNING, incident)


def on_supervisor_changed(tx: Transaction, supervisor_pid: int) -> None:
    """The supervisor died (0): training goes on, and nobody can relaunch it. Or another one took over."""
    run = tx.run
    if run.supervisor_pid == supervisor_pid or run.ended:
        run.supervisor_pid = supervisor_pid
        return
    run.supervisor_pid = supervisor_pid
    if supervisor_pid:
        tx.notify(f"the run has a supervisor again (process {supervisor_pid})")
        return
    remedy = texts.no_supervisor(run.spec.run)
    tx.notify(f"the supervisor of this run has died. {remedy}", Severity.CRITICAL)
    tx.alert("supervisor_lost", f"{tx.name}: its supervisor has died", remedy, Severity.CRITICAL)


def on_vanished(tx: Transaction) -> None:
    """The training's process is gone, and no supervisor is there to say how."""
    if tx.run.incident:
        _close(tx, tx.run.incident, IncidentEvent.RUN_VANISHED, "the training vanished")


def on_command(tx: Transaction, command: CommandGiven) -> None:
    """A person asks for a stop or a rollback."""
    run, incident = tx.run, tx.run.incident
    if not run.alive:
        tx.notify(f"{command.by} asked to {command.kind}, but no training process is running")
        return
    tx.notify(f"{command.by} asked to {command.kind}", Severity.WARNING)
    if command.kind == "stop":
        if incident:
            incident.outcome = f"{command.by} stopped the run"
            tx.move(incident, IncidentEvent.OPERATOR)
            tx.report(incident)
        send(tx, order_for(run, "stop", f"{command.by} asked for it"))
        return
    if run.supervisor_pid == 0:
        tx.notify("cannot roll back: the supervisor of this run has died", Severity.CRITICAL)
        return
    if incident is None or incident.state is IncidentState.MITIGATING:
        _asked_for(tx, command) if incident is None else tx.notify("a rollback has begun already")
        return
    _roll_back_now(tx, incident)


def _asked_for(tx: Transaction, command: CommandGiven) -> None:
    run = tx.run
    at = run.position or Position(run.generation, 1, 0, 0)
    number = len(run.incidents) + 1
    incident = Incident(
        f"{run.spec.run}-i{number}", number, "operator", Severity.INFO, IncidentState.OPEN, tx.now_s, at, at
    )
    run.incidents.append(incident)
    tx.record(incident, f"incident {number}: {command.by} asked for a rollback")
    _roll_back_now(tx, incident)


def _roll_back_now(tx: Transaction, incident: Incident) -> None:
    """What a person asks for is not an adjustment: mark the first action as taken."""
    incident.attempts = max(incident.attempts, 1)
    decide(tx, incident)


def on_examined(tx: Transaction, checkpoint: CheckpointState) -> None:
    """A verdict arrived: tell it, keep what is worth keeping, and go on where a decision waited for it."""
    checkpoint.examining = False
    said = "; ".join(checkpoint.reasons)
    bad = checkpoint.verdict is not Verdict.SOUND
    tx.notify(
        f"checkpoint of epoch {checkpoint.epoch}: {checkpoint.verdict} ({said})",
        Severity.WARNING if bad else Severity.INFO,
    )
    keep(tx)
    incident = tx.run.incident
    if incident and incident.waiting_for == checkpoint.digest:
        decide(tx, incident)
