"""What it cost in time, and whether the deadline holds, from the run's own pace. Pure."""

from __future__ import annotations

from monitor.core.format import duration, plural, when
from monitor.core.model import Incident
from monitor.core.state.projection import deadline_kept, finish_s, pace_s, too_close
from monitor.core.state.run import RunState, TrainingState
from monitor.core.summary.time_cost import (
    batches_left,
    batches_lost,
    going_back,
    is_being_stopped,
    state_alone,
    why_no_end,
    without_snapshots,
)


def time_lost(run: RunState, training: TrainingState, incident: Incident, now_s: float) -> list[str]:
    """Batches that are trained again, and time without training."""
    batches, pace = batches_lost(training, incident), pace_s(training)
    lines = ["## Time lost", ""]
    if not batches and not incident.totals.downtime_s:
        return [*lines, "None: no trained batch was thrown away."]
    stood = f"{duration(incident.totals.downtime_s)} without training" if incident.totals.downtime_s else ""
    instead = None if state_alone(training, incident) else without_snapshots(incident, batches)
    if not batches:
        redone = "" if instead is None else f" Without snapshots {plural(instead, 'batch')} would have been."
        return [*lines, f"{stood}; no trained batch was thrown away.{redone}"]
    if pace is None:
        also = f"{stood}, and " if stood else ""
        return [
            *lines,
            f"{also}{plural(batches, 'batch')} thrown away; their time is not known.",
        ]
    lost_s = batches * pace
    standstill = "not over yet" if going_back(incident) else duration(incident.totals.downtime_s)
    return [
        *lines,
        f"{duration(lost_s + incident.totals.downtime_s)} {'so far' if going_back(incident) else 'in all'}:",
        f"- thrown away: {plural(batches, 'batch')} x {pace:.3g} s = {duration(lost_s)}",
        f"- without training, to the first new batch: {standstill}",
        "- the loop goes on where it is: no batch is trained again"
        if state_alone(training, incident)
        else f"- to be where it was: the same batches once more, {duration(lost_s)}",
        *([] if instead is None else [f"- without snapshots: {plural(instead, 'batch')}, {duration(instead * pace)}"]),
    ]


def deadline(run: RunState, training: TrainingState, incident: Incident, now_s: float) -> list[str]:
    """When the training ends at its own pace, and whether that is in time."""
    if is_being_stopped(incident):
        return _stopped(run)
    return projected_end(run, training, batches_left(training, incident), now_s)


def _stopped(run: RunState) -> list[str]:
    limit_s = run.spec.deadline_s
    return [] if limit_s is None else ["## Deadline", "", f"The training is stopped. The deadline is {when(limit_s)}."]


def projected_end(run: RunState, training: TrainingState, left: int | None, now_s: float) -> list[str]:
    """The same for `left` batches from here; None: not known."""
    pace = pace_s(training)
    if training.started is None or run.ended:
        return _ended(run)
    per_epoch = training.started.batches_per_epoch
    if left is None or pace is None or per_epoch <= 0:
        return ["## Deadline", "", f"{why_no_end(training)}."]
    finish = finish_s(now_s, left, pace)
    own_pace = f"{pace:.3g} s a batch, {duration(per_epoch * pace)} an epoch, validation and saving included"
    epochs = left / per_epoch
    remains = f"{epochs:.1f} {'epoch is' if epochs == 1.0 else 'epochs are'} left: {duration(left * pace)}. "
    remains += f"It ends on {when(finish)}."
    lines = ["## Deadline", "", f"At this run's own pace ({own_pace}) {remains}"]
    if run.spec.deadline_s is None:
        return [*lines, "No deadline was given."]
    return [*lines, _in_time(finish, run.spec.deadline_s, now_s)]


def _in_time(finish: float, deadline_s: float, now_s: float) -> str:
    kept = deadline_kept(finish, deadline_s)
    margin = f"{duration(abs(deadline_s - finish))} {'to spare' if kept else 'too late'}"
    if too_close(finish, deadline_s, now_s):
        return f"**The deadline of {when(deadline_s)} is uncertain**: {margin}, less than the error of this projection."
    return f"**The deadline of {when(deadline_s)} is {'kept' if kept else 'missed'}**: {margin}."


def _ended(run: RunState) -> list[str]:
    if run.ended_s is None or run.spec.deadline_s is None:
        return []
    margin = duration(abs(run.spec.deadline_s - run.ended_s))
    word = f"kept, {margin} to spare" if deadline_kept(run.ended_s, run.spec.deadline_s) else f"missed by {margin}"
    return [
        "## Deadline",
        "",
        f"The run ended on {when(run.ended_s)}; the deadline of {when(run.spec.deadline_s)} was {word}.",
    ]
