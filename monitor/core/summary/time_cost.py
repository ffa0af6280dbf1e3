"""What an incident cost in time, and whether the deadline holds, from the run's own pace. Pure."""

from __future__ import annotations

from monitor.core.format import batches, duration, minute, plural
from monitor.core.model import Incident, IncidentState
from monitor.core.state.epoch_lookup import row_of
from monitor.core.state.projection import deadline_kept, finish_s, pace_s, redo_batches, remaining, too_close
from monitor.core.state.run import RunState


def going_back(incident: Incident) -> bool:
    """True from the decision to go back until the first batch of the new generation."""
    return incident.action == "rollback" and incident.resumed_s is None and incident.state is IncidentState.MITIGATING


def batches_lost(run: RunState, incident: Incident) -> int:
    """Batches discarded; while the rollback is under way, those between its checkpoint and where the training left."""
    if incident.batches_discarded or not going_back(incident):
        return incident.batches_discarded
    plan, here = incident.plan, incident.left_at or run.position
    if plan is None or plan.checkpoint is None or here is None or run.training is None:
        return 0
    return redo_batches(plan.checkpoint.epoch, here, run.training.batches_per_epoch)


def batches_left(run: RunState, incident: Incident | None) -> int | None:
    """Batches to train from here, those to be done again after a rollback included; None: not known."""
    training = run.training
    if training is None:
        return None
    plan = incident.plan if incident is not None and going_back(incident) else None
    if plan and plan.checkpoint:
        return max(0, training.epochs - plan.checkpoint.epoch) * training.batches_per_epoch
    here = run.position or (incident.left_at if incident is not None else None)
    return remaining(here, training.epochs, training.batches_per_epoch).batches if here else None


def time_lost(run: RunState, incident: Incident | None) -> str:
    """Batches to do again and time without training."""
    lost = batches_lost(run, incident) if incident is not None else run.totals.batches_discarded
    stood_s = incident.downtime_s if incident is not None else run.downtime_s
    if not lost and not stood_s:
        return f"None.{_skipped(run, incident)}"
    pace = pace_s(run)
    if pace is None:
        return f"{batches(lost)} to train again. The pace of this run is not known yet."
    so_far = " so far" if incident is not None and going_back(incident) else ""
    parts = [f"{batches(lost)} to train again"] if lost else []
    parts += [f"{duration(stood_s)} without training"] if stood_s else []
    return f"{duration(lost * pace + stood_s)}{so_far}: {' and '.join(parts)}."


def _skipped(run: RunState, incident: Incident | None) -> str:
    row = row_of(run, incident.onset) if incident is not None else None
    steps = row.skipped_by_guard + row.skipped_by_scaler if row is not None else 0
    return f" {plural(steps, 'optimizer step')} of epoch {row.epoch} were skipped." if row is not None and steps else ""


def deadline(run: RunState, incident: Incident | None, now_s: float) -> str:
    """When the training ends, and whether that is in time."""
    limit_s = run.spec.deadline_s
    if run.ended:
        return _after_the_end(run)
    pace = pace_s(run)
    left = batches_left(run, incident if incident is not None and incident.live else None)
    if left is None or pace is None:
        return "None was given." if limit_s is None else "Not known yet: too few batches to measure the pace."
    end_s = finish_s(now_s, left, pace)
    ends = f"at this pace the training ends on {minute(end_s)}"
    if limit_s is None:
        return f"None was given. {ends[0].upper()}{ends[1:]}."
    kept = bool(deadline_kept(end_s, limit_s))
    word = "Uncertain" if too_close(end_s, limit_s, now_s) else "Kept" if kept else "Missed"
    return f"{word}: {ends}, {margin(end_s, limit_s)}."


def margin(end_s: float, limit_s: float) -> str:
    """2 h 10 min before the deadline of 2026-11-28 00:00 UTC."""
    side = "before" if end_s <= limit_s else "after"
    return f"{duration(abs(limit_s - end_s))} {side} the deadline of {minute(limit_s)}"


def _after_the_end(run: RunState) -> str:
    limit_s, ended_s = run.spec.deadline_s, run.ended_s
    if limit_s is None or ended_s is None:
        return ""
    word = "Kept" if deadline_kept(ended_s, limit_s) else "Missed"
    if run.ended != "finished":
        return f"Not reached: the run ended before the training was complete. The deadline is {minute(limit_s)}."
    return f"{word}: the training ended {margin(ended_s, limit_s)}."
