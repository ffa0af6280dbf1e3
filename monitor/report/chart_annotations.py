"""Where the batches of a run lie on one axis over all its generations, and what happened at which of them. Pure."""

from __future__ import annotations

from itertools import pairwise

from monitor.core.format import count, saved_cell
from monitor.core.model import EpochStatus, Incident, Position
from monitor.core.state.run import TrainingState
from monitor.report.chart import Mark

EPOCHS_MAX = 40  # lines for epochs in one chart; of more every other, every third, ... has one


def places(training: TrainingState) -> dict[int, float]:
    """Generation -> batches of all generations before it."""
    found, before = {}, 0
    for generation in range(1, training.generation + 1):
        found[generation] = float(before)
        before += sum(row.batches for row in training.epochs if row.generation == generation)
    return found


def batches(training: TrainingState) -> int:
    """Batches of all generations."""
    return sum(row.batches for row in training.epochs)


def marks(training: TrainingState) -> list[Mark]:
    """Every mark of the run, in batches since it began."""
    where = places(training)
    found = [*_epochs(training), *_generations(training, where), *_returns(training, where)]
    for incident in training.ledger.incidents:
        found += _of_incident(incident, where)
    return found


def _epochs(training: TrainingState) -> list[Mark]:
    stride = -(-len(training.epochs) // EPOCHS_MAX)
    found, before = [], 0
    for place, row in enumerate(training.epochs):
        if place and place % stride == 0:
            found.append(Mark(float(before), "epoch", f"epoch {row.epoch}"))
        before += row.batches
    return found


def _generations(training: TrainingState, where: dict[int, float]) -> list[Mark]:
    """A generation that began from a rollback is marked as that."""
    back = {
        plan.generation: saved_cell(*plan.target.holds)
        for incident in training.ledger.incidents
        if (plan := incident.action.plan) and plan.target and not plan.in_process
    }
    return [
        Mark(at, "rollback", f"back to epoch {back[generation]}")
        if generation in back
        else Mark(at, "generation", f"generation {generation}")
        for generation, at in where.items()
        if generation > 1
    ]


def _returns(training: TrainingState, where: dict[int, float]) -> list[Mark]:
    """Where it went back within its process: an epoch that was given up, and no later one follows in its generation."""
    actions = [incident.action for incident in training.ledger.incidents]
    known = {
        where.get(left.generation, 0.0) + left.count: saved_cell(*plan.target.holds)
        for action in actions
        if (plan := action.plan) and plan.in_process and plan.target and (left := action.left_at)
    }
    found, before = [], 0.0
    for row, following in pairwise(training.epochs):
        before += row.batches
        given_up = row.status is EpochStatus.DISCARDED and row.generation == following.generation
        if given_up and following.epoch <= row.epoch:
            place = f"back to epoch {known[before]}" if before in known else f"back into epoch {following.epoch}"
            found.append(Mark(before, "rollback", place, f"in the process of generation {row.generation}"))
    return found


def _of_incident(incident: Incident, where: dict[int, float]) -> list[Mark]:
    rows: list[tuple[Position | None, str, str]] = [
        (incident.onset, "onset", f"onset {incident.number}"),
        (incident.opened_at, "opened", f"opened {incident.number}"),
        (incident.action.left_at, "order", f"order {incident.number}"),
    ]
    return [
        Mark(where[at.generation] + at.count, kind, name, f"epoch {at.epoch}, batch {count(at.batch)}")
        for at, kind, name in rows
        if at is not None and at.generation in where
    ]
