"""What an incident cost in time, and whether the deadline holds, from the run's own pace. Pure."""

from __future__ import annotations

from monitor.core.format import batches, duration, minute, plural
from monitor.core.model import ActionKind, Incident, IncidentState
from monitor.core.state.checkpoints import batches_since
from monitor.core.state.epoch_lookup import row_of
from monitor.core.state.generations import target_of
from monitor.core.state.projection import (
    batches_after,
    deadline_kept,
    finish_s,
    pace_s,
    redo_batches,
    remaining,
    too_close,
)
from monitor.core.state.run import RunState, TrainingState
from trainer_hooks.wire.run_documents import RunOutcome


def going_back(incident: Incident) -> bool:
    """True from the decision to go back until the first batch of the new generation."""
    return (
        incident.action.kind == ActionKind.ROLLBACK
        and incident.action.resumed_s is None
        and incident.state is IncidentState.MITIGATING
    )


def state_alone(training: TrainingState, incident: Incident) -> bool:
    """True where its state alone goes back, and the loop goes on where it is: no batch is trained again."""
    started, plan = training.last_start, incident.action.plan
    return plan is not None and plan.in_process and started is not None and started.keeps_position


def batches_lost(training: TrainingState, incident: Incident) -> int:
    """Batches discarded; while the rollback is under way, those between its checkpoint and where the training left."""
    if incident.totals.batches_discarded or not going_back(incident):
        return incident.totals.batches_discarded
    plan, here = incident.action.plan, incident.action.left_at or training.position
    if plan is None or plan.target is None or here is None or training.started is None:
        return 0
    if state_alone(training, incident):
        target = target_of(training, incident)
        return batches_since(training, target) if target else 0
    return redo_batches(plan.target.holds, here, training.started.batches_per_epoch)


def batches_left(training: TrainingState, incident: Incident | None) -> int | None:
    """Batches to train from here, those to be done again after a rollback included; None: not known."""
    started = training.started
    if started is None or training.over:
        return None
    plan = incident.action.plan if incident is not None and going_back(incident) else None
    if incident and plan and plan.target and not state_alone(training, incident):
        return batches_after(plan.target.holds, started.epochs, started.batches_per_epoch)
    here = training.position or (incident.action.left_at if incident is not None else None)
    if not here or not started.batches_per_epoch:
        return None
    return remaining(here, started.epochs, started.batches_per_epoch).batches


def time_lost(run: RunState, training: TrainingState, incident: Incident | None) -> str:
    """Batches to do again, or whose training is lost, and time without training."""
    lost = batches_lost(training, incident) if incident is not None else training.totals.batches_discarded
    stood_s = incident.totals.downtime_s if incident is not None else run.downtime_s
    if not lost and not stood_s:
        return f"None.{_skipped(training, incident)}"
    pace = pace_s(training)
    alone = incident is not None and state_alone(training, incident)
    what = f"the training of {batches(lost)}" if alone else f"{batches(lost)} to train again"
    so_far = " so far" if incident is not None and _goes_on_later(run, training, incident) else ""
    parts = [what] if lost else []
    parts += [f"{duration(stood_s)} without training"] if stood_s else []
    if pace is None and lost:
        text = " and ".join(parts)
        return f"{text[0].upper()}{text[1:]}{so_far}. How long these batches take is not known: too few were measured."
    also = "" if alone or pace is None else _without_snapshots(incident, lost, pace, stood_s)
    if not lost or pace is None:
        return f"{duration(stood_s)}{so_far} without training.{also}"
    return f"{duration(lost * pace + stood_s)}{so_far}: {' and '.join(parts)}.{also}"


def _goes_on_later(run: RunState, training: TrainingState, incident: Incident) -> bool:
    """True until the first batch after a return: the time without training is not over."""
    return going_back(incident) or (incident.live and training.position is None and not run.ended)


def without_snapshots(incident: Incident | None, lost: int) -> int | None:
    """Batches that going back to the checkpoint before would have cost; None: that was done, or it is not known."""
    plan = incident.action.plan if incident is not None else None
    if plan is None or plan.snapshot is None or (plan.checkpoint is None and plan.snapshot.epoch):
        return None  # the last: nobody knows where a hand-written loop would have begun
    return lost + plan.snapshot.extra_batches


def _without_snapshots(incident: Incident | None, lost: int, pace: float, stood_s: float) -> str:
    """What that would have cost in all, the time without training included."""
    instead = without_snapshots(incident, lost)
    if instead is None:
        return ""
    in_all = " in all" if stood_s else ""
    return f" Without snapshots it would have been {batches(instead)}, {duration(instead * pace + stood_s)}{in_all}."


def _skipped(training: TrainingState, incident: Incident | None) -> str:
    row = row_of(training, incident.onset) if incident is not None else None
    steps = row.skipped if row is not None else 0
    if row is None or not steps:
        return ""
    return f" {plural(steps, 'optimizer step')} of epoch {row.epoch} {'was' if steps == 1 else 'were'} skipped."


def deadline(run: RunState, training: TrainingState, incident: Incident | None, now_s: float) -> str:
    """When the training ends, and whether that is in time."""
    limit_s = run.spec.deadline_s
    if run.ended:
        return _after_the_end(run)
    if is_being_stopped(incident):
        return "" if limit_s is None else f"Not reached: the training is stopped. The deadline is {minute(limit_s)}."
    pace = pace_s(training)
    left = batches_left(training, incident if incident is not None and incident.live else None)
    if left is None or pace is None:
        return "None was given." if limit_s is None else f"{why_no_end(training)}. It is {minute(limit_s)}."
    end_s = finish_s(now_s, left, pace)
    ends = f"at this pace the training ends on {minute(end_s)}"
    if limit_s is None:
        return f"None was given. {ends[0].upper()}{ends[1:]}."
    kept = bool(deadline_kept(end_s, limit_s))
    word = "Uncertain" if too_close(end_s, limit_s, now_s) else "Kept" if kept else "Missed"
    return f"{word}: {ends}, {margin(end_s, limit_s)}."


def why_no_end(training: TrainingState) -> str:
    """Why nobody knows when the training ends, as the beginning of a sentence."""
    started = training.last_start
    if training.over:
        return "Not known: this training is over, and its script goes on"
    if started is not None and not started.batches_per_epoch:
        return "Not known: nobody said how many batches there are"
    return "Not known yet: too few batches to measure the pace"


def is_being_stopped(incident: Incident | None) -> bool:
    """True where the policy gave the training up, and has it stopped."""
    return incident is not None and incident.state is IncidentState.GIVEN_UP and incident.action.kind == ActionKind.STOP


def margin(end_s: float, limit_s: float) -> str:
    """2 h 10 min before the deadline of 2026-11-28 00:00 UTC."""
    side = "before" if end_s <= limit_s else "after"
    return f"{duration(abs(limit_s - end_s))} {side} the deadline of {minute(limit_s)}"


def _after_the_end(run: RunState) -> str:
    limit_s, ended_s = run.spec.deadline_s, run.ended_s
    if limit_s is None or ended_s is None:
        return ""
    word = "Kept" if deadline_kept(ended_s, limit_s) else "Missed"
    if run.ended != RunOutcome.FINISHED:
        return f"Not reached: the run ended before the training was complete. The deadline is {minute(limit_s)}."
    return f"{word}: the training ended {margin(ended_s, limit_s)}."
