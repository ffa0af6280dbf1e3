"""The third pass: what the policy does about an input, once it is folded and the detectors have been asked. Pure.

It writes nothing but the ledger of a training and the effects of the transaction.
"""

from __future__ import annotations

from monitor.core.model import (
    AlertSettled,
    CheckpointExamined,
    CommandGiven,
    Finding,
    FramesRefused,
    GenerationDied,
    GenerationExited,
    GenerationStarted,
    HardwareSeen,
    IncidentAcknowledged,
    Input,
    PlanWritten,
    ReceiptFound,
    RecordArrived,
    RunEnded,
    RunOpened,
    StacksTaken,
    SupervisorChanged,
    Tick,
    TrainingVanished,
)
from monitor.core.policy import (
    cure_watch,
    event_reactions,
    findings,
    order_answers,
    restarts,
    stack_collection,
    starts_and_ends,
)
from monitor.core.policy.transaction import Transaction
from monitor.core.state.fold import Folded


def react(  # noqa: C901, PLR0912 - one case an input
    tx: Transaction, given: Input, folded: Folded, found: list[Finding], new: list[Finding]
) -> None:
    """React to one input. `found`: the detectors' findings; `new`: those that begin a streak or make it worse."""
    match given:
        case RecordArrived():
            _on_record(tx, folded)
        case Tick():
            order_answers.on_tick(tx)
            stack_collection.on_tick(tx)
        case GenerationStarted():
            starts_and_ends.on_generation_started(tx, news=folded.news)
        case GenerationDied() if folded.news:
            restarts.on_generation_died(tx, given)
        case GenerationExited() if folded.news:
            starts_and_ends.on_generation_exited(tx, given)
        case TrainingVanished() if folded.news:
            starts_and_ends.on_training_vanished(tx, given)
        case RunEnded() if folded.news:
            starts_and_ends.on_run_ended(tx, given)
        case CommandGiven():
            starts_and_ends.on_command(tx, given)
        case IncidentAcknowledged():
            starts_and_ends.on_acknowledged(tx, given)
        case CheckpointExamined() if folded.checkpoint is not None:
            event_reactions.on_examined(tx, folded.checkpoint)
        case PlanWritten():
            order_answers.on_plan_written(tx, given.plan, given.error)
        case ReceiptFound():
            order_answers.on_receipt(tx, given.receipt)
        case StacksTaken():
            stack_collection.on_taken(tx, given)
        case SupervisorChanged() | RunOpened() | HardwareSeen() | AlertSettled() | FramesRefused():
            pass  # facts that the policy has no answer to
        case _:
            pass  # known before
    if folded.supervisor_changed:
        gone = isinstance(given, SupervisorChanged) and given.with_training
        starts_and_ends.on_supervisor_changed(tx, trains=not gone)
    findings.on_findings(tx, found, new)


def _on_record(tx: Transaction, folded: Folded) -> None:
    rank = folded.rank
    if rank is None:
        return  # refused, or a repeat
    if folded.batch is not None and rank.rank == 0:
        if tx.training.incident:
            tx.training.incident.hangs = False
        if folded.downtime_s and tx.training.incident:
            tx.training.incident.totals.downtime_s += folded.downtime_s
        cure_watch.on_batch(tx, folded.batch, new=folded.new_batches, bad=folded.bad_batches)
    elif folded.event is not None:
        event_reactions.on_event(tx, rank, folded.event, folded.checkpoint)
