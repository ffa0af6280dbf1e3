"""What could be done about an incident, each with its projected cost, as it looked when the incident opened. Pure."""

from __future__ import annotations

from monitor.core.format import about, batches, count, duration, minute, percent
from monitor.core.model import ActionKind, Incident, Option
from monitor.core.policy.action import Action, StartWith
from monitor.core.policy.choose import choose
from monitor.core.policy.in_process import puts_state_back
from monitor.core.policy.transaction import Transaction
from monitor.core.policy.trust import judge, plausible_ones
from monitor.core.state.checkpoints import batches_since
from monitor.core.state.projection import (
    batches_left,
    deadline_kept,
    failure_rate,
    finish_s,
    pace_s,
    projected_nonfinite,
    redo_batches,
)
from monitor.core.state.rows import CheckpointState, EpochRow
from monitor.core.state.run import RunState, TrainingState

SETTINGS = {
    StartWith.STRENGTHENED: "strengthened settings",
    StartWith.AS_BEFORE: "the settings as they were",
    StartWith.YOUR_OWN: "your own settings",
}


def options_at(tx: Transaction, incident: Incident) -> list[Option]:
    """The choices people have on such a night, and the one the policy takes first."""
    run = tx.run
    chosen = choose(run, tx.training, incident, tx.policy, may_act=tx.may_act)
    candidates = plausible_ones(tx.training, tx.policy.rollback, incident)
    first = candidates[0] if candidates else None
    if chosen.checkpoint is not None:  # an older one may cost less: see go_back
        first = chosen.checkpoint
    alone = puts_state_back(tx.training, tx.policy.rollback, incident.family)
    to_first = _back_to(run, tx.training, first, alone=alone) if first else "no clean checkpoint to go back to"
    back = chosen.kind in (ActionKind.ROLLBACK, ActionKind.EXAMINE)
    return [
        Option(_name_of_going_back(chosen), to_first, back),
        Option(
            "adjust in place",
            "no batch is done again; the guard must have kept the weights clean",
            chosen.kind is ActionKind.ADJUST,
        ),
        Option("go on", _going_on(tx.training, incident), chosen.kind in (ActionKind.WATCH, ActionKind.WAIT)),
        Option("go further back", _further_back(tx, first), chosen=False),
        Option("stop and keep everything", "the rest of the training is not trained", chosen.kind is ActionKind.STOP),
    ]


def _name_of_going_back(chosen: Action) -> str:
    if chosen.kind is not ActionKind.ROLLBACK:  # with which settings is decided once it is chosen
        return "go back to a clean checkpoint"
    return f"go back with {SETTINGS[chosen.start_with]}"


def _back_to(run: RunState, training: TrainingState, checkpoint: CheckpointState, *, alone: bool) -> str:
    """`alone`: the state goes back and the loop does not."""
    position, started, pace = training.position, training.started, pace_s(training)
    if position is None or started is None:
        return f"goes back to {checkpoint.place}"
    if alone:
        lost = batches(batches_since(training, checkpoint))
        return f"puts the state of {checkpoint.place} back: the training of {lost} is lost, and none is done again"
    redo = redo_batches(checkpoint.holds, position, started.batches_per_epoch)
    text = f"goes back to {checkpoint.place}: {batches(redo)} to do again"
    left = batches_left(training)
    if pace is None or left is None:
        return text
    end = finish_s(training.ranks[0].last_batch_s or run.opened_s, left, pace, redo)
    return f"{text}, {duration(redo * pace)} at this run's pace; {_when(end, run.spec.deadline_s)}"


def _going_on(training: TrainingState, incident: Incident) -> str:
    """What goes on at the rate since the onset, to the end of this epoch."""
    position, row = incident.opened_at, _row_of(training, incident)
    if row is None:
        return "not known: no batch of this epoch was recorded"
    since = max(row.batches, 1)
    rate = failure_rate(row.nonfinite, since)
    total = row.nonfinite + projected_nonfinite(rate, row.batches_per_epoch - position.batch - 1)
    seen = f"{count(row.nonfinite)} of {batches(since)} {'is' if row.nonfinite == 1 else 'are'} not finite"
    if not row.batches_per_epoch:
        return f"{seen} ({percent(rate)}), and each costs an optimizer step"
    return (
        f"{seen} ({percent(rate)}); about {about(total)} by the end of epoch {row.epoch}, "
        "and each costs an optimizer step"
    )


def _row_of(training: TrainingState, incident: Incident) -> EpochRow | None:
    at = incident.opened_at
    return next((r for r in reversed(training.epochs) if (r.generation, r.epoch) == (at.generation, at.epoch)), None)


def _further_back(tx: Transaction, first: CheckpointState | None) -> str:
    rules = tx.policy.rollback
    older = [c for c in tx.training.checkpoints if not tx.training.dropped(c) and c is not first]
    known = [f"{_name(c)}: {judge(c, tx.training, rules)[0]}" for c in older]
    return "; ".join(known) or "there is no other checkpoint"


def _name(checkpoint: CheckpointState) -> str:
    return checkpoint.place if checkpoint.is_snapshot else f"epoch {checkpoint.epoch}"


def _when(end_s: float, deadline_s: float | None) -> str:
    text = f"the training ends on {minute(end_s)}"
    if deadline_s is None:
        return text
    return f"{text}, the deadline is {'kept' if deadline_kept(end_s, deadline_s) else 'missed'}"
