"""Collects what is known of a generation that has ended, and writes what the supervisor knows of it. Files only."""

from __future__ import annotations

import time

from monitor.supervisor.decide import Decision, ExitContext
from monitor.supervisor.generation_watch import Ending
from monitor.supervisor.run_documents import RunDocuments
from monitor.supervisor.training_ends import crash_of, left_unended
from trainer_hooks.wire.document_io import RunFolderError, write
from trainer_hooks.wire.plan import Plan, Receipt
from trainer_hooks.wire.run_documents import Exit
from trainer_hooks.wire.words import OrderOutcome


def collect(documents: RunDocuments, number: int, ending: Ending) -> ExitContext:
    """Everything that decides what follows generation `number`. An exit that was written before stands."""
    over = documents.exit(number) or Exit(
        number=number,
        code=ending.process.code,
        signal=ending.process.signal,
        ended_s=time.time(),
        escalation=ending.cleared.escalation,
        asked=ending.interrupted,
    )
    plan, plan_error = None, ""
    try:
        plan = documents.plan(number + 1)
        receipt = documents.receipt(plan.order) if plan else None
    except RunFolderError as error:
        plan_error, receipt = str(error), None
    unended = left_unended(documents, number)
    return ExitContext(
        exit=over,
        plan=plan,
        plan_error=plan_error,
        receipt=receipt,
        stop=_obeyed_stop(documents, number),
        killed=ending.killed,
        survivors=", ".join(f"{s.name} (pid {s.pid}, state {s.state})" for s in ending.cleared.survivors),
        crash=crash_of(documents, number),
        vanished=not ending.killed and over.code is None and over.signal is None and unended,
        early_ends=documents.early_ends(over),
        unended=unended,
    )


def _obeyed_stop(documents: RunDocuments, number: int) -> Receipt | None:
    """The last order that made generation `number` leave; an order to adjust in place does not."""
    stops = [
        receipt
        for receipt in documents.receipts(number)
        if receipt.outcome == OrderOutcome.APPLIED and not documents.folder.adjustment(receipt.order).exists()
    ]
    return stops[-1] if stops else None


def write_receipt(documents: RunDocuments, plan: Plan, over: Exit, decision: Decision) -> Receipt:
    """The receipt that the training could not write any more."""
    receipt = receipt_of(plan, over.number, decision.receipt, decision.detail)
    write(documents.folder.receipt(plan.order), receipt)
    return receipt


def receipt_of(plan: Plan, generation: int, outcome: str, detail: str) -> Receipt:
    """A receipt in the place of a training that left none."""
    return Receipt(
        order=plan.order,
        training=plan.training,
        generation=generation,
        outcome=outcome,
        detail=detail,
        epoch=0,
        batch=0,
        read_back={},
        written_s=time.time(),
    )
