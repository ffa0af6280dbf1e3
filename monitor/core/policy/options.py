"""What could be done about an incident, each with its projected cost, as it looked when the incident opened. Pure."""

from __future__ import annotations

from datetime import datetime, timezone

from monitor.core.model import Incident, Option
from monitor.core.policy.choose import choose
from monitor.core.policy.transaction import Transaction
from monitor.core.policy.trust import judge, plausible_ones
from monitor.core.state.projection import (
    deadline_kept,
    failure_rate,
    finish_s,
    pace_s,
    projected_nonfinite,
    redo_batches,
    remaining,
)
from monitor.core.state.run import CheckpointState, EpochRow, RunState


def options_at(tx: Transaction, incident: Incident) -> list[Option]:
    """The choices people have on such a night, and the one the policy takes first."""
    run = tx.run
    chosen = choose(run, incident, tx.policy, may_act=tx.may_act)
    candidates = plausible_ones(run, tx.policy.rollback, incident)
    first = candidates[0] if candidates else None
    back = chosen.kind in ("rollback", "examine")
    return [
        Option("stop and strengthen", _back_to(run, first) if first else "no clean checkpoint to go back to", back),
        Option(
            "adjust in place", "nothing is redone; the guard must have kept the state clean", chosen.kind == "adjust"
        ),
        Option("go on", _going_on(run, incident), chosen.kind in ("watch", "wait")),
        Option("go further back", _further_back(tx, first), chosen=False),
        Option("stop and keep everything", "the rest of the training is not done", chosen.kind == "stop"),
    ]


def _back_to(run: RunState, checkpoint: CheckpointState) -> str:
    position, training, pace = run.position, run.training, pace_s(run)
    if position is None or training is None:
        return f"back to epoch {checkpoint.epoch}"
    redo = redo_batches(checkpoint.epoch, position, training.batches_per_epoch)
    text = f"back to epoch {checkpoint.epoch}: {redo} batches are redone"
    if pace is None:
        return text
    left = remaining(position, training.epochs, training.batches_per_epoch).batches
    end = finish_s(run.ranks[0].last_batch_s or run.opened_s, left, pace, redo)
    return f"{text}, {redo * pace / 3600:.2f} h at this run's pace; {_when(end, run.spec.deadline_s)}"


def _going_on(run: RunState, incident: Incident) -> str:
    """What goes on at the rate since the onset, to the end of this epoch."""
    position, row = incident.opened_at, _row_of(run, incident)
    if row is None:
        return "not projected: the epoch has not been seen"
    since = max(row.batches, 1)
    rate = failure_rate(row.nonfinite, since)
    total = row.nonfinite + projected_nonfinite(rate, row.batches_per_epoch - position.batch - 1)
    seen = f"{row.nonfinite} non-finite of {since} batches is {rate:.2%}"
    return f"{seen}; about {total} by the end of epoch {row.epoch}, each a step that is not taken"


def _row_of(run: RunState, incident: Incident) -> EpochRow | None:
    at = incident.opened_at
    return next((r for r in reversed(run.epochs) if (r.generation, r.epoch) == (at.generation, at.epoch)), None)


def _further_back(tx: Transaction, first: CheckpointState | None) -> str:
    rules = tx.policy.rollback
    older = [c for c in tx.run.checkpoints if not c.dropped and c is not first]
    known = [f"epoch {c.epoch}: {judge(c, tx.run, rules)[0]}" for c in older]
    return "; ".join(known) or "there is no other checkpoint"


def _when(end_s: float, deadline_s: float | None) -> str:
    text = f"the training ends {datetime.fromtimestamp(end_s, timezone.utc):%Y-%m-%d %H:%M} UTC"
    if deadline_s is None:
        return text
    return f"{text}, the deadline is {'kept' if deadline_kept(end_s, deadline_s) else 'missed'}"
