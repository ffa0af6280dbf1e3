"""What a person may order, and what a run has been ordered. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec

from monitor.core.model import CommandKind
from monitor.core.state.run import RunState
from monitor.daemon.api.snapshots import RunSummary

NAME_MAX = 80  # characters of who gave an order


class OrderAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An order to a run. `by`: who gives it, for the timeline."""

    kind: CommandKind
    by: Annotated[str, msgspec.Meta(max_length=NAME_MAX)] = ""


class OrderLine(msgspec.Struct, frozen=True):
    """An order that nobody has answered yet."""

    id: str
    training: int
    kind: str
    generation: int
    rank: int
    reason: str
    since_s: float


VERBS = {CommandKind.ROLLBACK: "roll back"}  # the others are verbs as they are


def refusal(run: RunSummary, kind: CommandKind, checkpoints: int) -> str:
    """Why an order would come to nothing; empty: it would not. `checkpoints`: kept copies of the run's."""
    if not run.live:
        return f"run {run.run}: this run has ended ({run.state}); there is nothing to {VERBS.get(kind, kind)}"
    if kind is CommandKind.ADJUST and run.incident:
        return f"run {run.run}: incident {run.incident.number} is open, and has an action of its own; wait for its end"
    if kind is CommandKind.ADJUST and not run.act:
        return f"run {run.run}: this run was started to be observed only, so its settings are left alone"
    if kind is CommandKind.ROLLBACK and not run.supervised:
        remedy = f"take it over first: trainwarden run --adopt {run.run}"
        return f"run {run.run}: its supervisor has died, so nothing could start it again; {remedy}"
    if kind is CommandKind.ROLLBACK and not checkpoints:
        return f"run {run.run}: no checkpoint or snapshot of it was seen yet, so there is nothing to go back to"
    return ""


def pending_of(run: RunState) -> list[OrderLine]:
    """Of every training, the order that is on its way."""
    return [
        OrderLine(
            order.id, training.number, str(order.kind), order.generation, order.rank, order.reason, pending.since_s
        )
        for _, training in sorted(run.trainings.items())
        for pending in [training.ledger.pending]
        if pending
        for order in [pending.order]
    ]
