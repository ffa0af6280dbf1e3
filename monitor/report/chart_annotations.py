"""Where the batches of a run lie on one axis over all its generations, and what happened at which of them. Pure."""

from __future__ import annotations

from monitor.core.format import count
from monitor.core.model import Incident, Position
from monitor.core.state.run import RunState
from monitor.report.chart import Mark

EPOCHS_MAX = 40  # lines for epochs in one chart; of more every other, every third, ... has one


def places(run: RunState) -> dict[int, float]:
    """Generation -> batches of all generations before it."""
    found, before = {}, 0
    for generation in range(1, run.generation + 1):
        found[generation] = float(before)
        before += sum(row.batches for row in run.epochs if row.generation == generation)
    return found


def batches(run: RunState) -> int:
    """Batches of all generations."""
    return sum(row.batches for row in run.epochs)


def marks(run: RunState) -> list[Mark]:
    """Every mark of the run, in batches since it began."""
    where = places(run)
    found = [*_epochs(run), *_generations(run, where)]
    for incident in run.incidents:
        found += _of_incident(incident, where)
    return found


def _epochs(run: RunState) -> list[Mark]:
    stride = -(-len(run.epochs) // EPOCHS_MAX)
    found, before = [], 0
    for place, row in enumerate(run.epochs):
        if place and place % stride == 0:
            found.append(Mark(float(before), "epoch", f"epoch {row.epoch}"))
        before += row.batches
    return found


def _generations(run: RunState, where: dict[int, float]) -> list[Mark]:
    """A generation that began from a rollback is marked as that."""
    back = {i.plan.generation: i.plan.checkpoint.epoch for i in run.incidents if i.plan and i.plan.checkpoint}
    return [
        Mark(at, "rollback", f"back to epoch {back[generation]}")
        if generation in back
        else Mark(at, "generation", f"generation {generation}")
        for generation, at in where.items()
        if generation > 1
    ]


def _of_incident(incident: Incident, where: dict[int, float]) -> list[Mark]:
    told: list[tuple[Position | None, str, str]] = [
        (incident.onset, "onset", f"onset {incident.number}"),
        (incident.opened_at, "opened", f"opened {incident.number}"),
        (incident.left_at, "order", f"order {incident.number}"),
    ]
    return [
        Mark(where[at.generation] + at.count, kind, name, f"epoch {at.epoch}, batch {count(at.batch)}")
        for at, kind, name in told
        if at is not None and at.generation in where
    ]
