"""Whether a training that died is started again: how it died, and what speaks against another try. Pure."""

from __future__ import annotations

from monitor.core.format import batch_at, plural
from monitor.core.model import GenerationDied, Position
from monitor.core.model.outcomes import ending, may_be_a_crash, signal_name, signal_of
from monitor.core.policy import go_back
from monitor.core.policy.choose import why_only_watching
from monitor.core.policy.restart_settings import Restart
from monitor.core.policy.transaction import Transaction
from monitor.core.state.epochs import totals_of
from monitor.core.state.ledger import Restarts
from monitor.core.state.run import RunState, TrainingState
from trainer_hooks.wire.words import OUT_OF_MEMORY, OrderKind, TrainingEnd

ENDED_BY_ITSELF = (TrainingEnd.FINISHED, TrainingEnd.EXITED, TrainingEnd.INTERRUPTED, TrainingEnd.ORDER)


def way_of(death: GenerationDied) -> str:
    """How it died, in the few words by which two deaths are compared: SIGKILL, ValueError, exit code 3."""
    number = signal_of(death.exit)
    if number is not None:
        return signal_name(number)
    return death.crash.split(":")[0].split(" ")[0].rstrip(",") or ending(death.exit)


def out_of_memory(death: GenerationDied) -> bool:
    """True where the memory of a GPU was full."""
    return OUT_OF_MEMORY in death.crash.lower() or way_of(death) == "OutOfMemoryError"


def what_died(death: GenerationDied, at: Position) -> str:
    """The sentence that people read first, without its full stop."""
    where = f"after {batch_at(at.epoch, at.batch)}"
    if death.with_machine:
        return f"the machine was started again, so the training died {where}"
    if signal_of(death.exit) is not None:
        return f"the training was ended by {way_of(death)} {where}, and nobody had asked for that"
    if death.crash:
        why = "the memory of the GPU was full" if out_of_memory(death) else "the training crashed"
        return f"{why} {where}: {death.crash}"
    return f"the training ended {where} ({ending(death.exit)}), and reported nothing"


def left_undone(run: RunState, by_a_person: bool) -> TrainingState | None:
    """The training that the dead generation leaves unfinished, the one that began last; None: there is none."""
    over = (TrainingEnd.FINISHED,) if by_a_person else ENDED_BY_ITSELF
    open_ones = [each for each in run.trainings.values() if each.died_at and not (each.over and each.how in over)]
    return max(open_ones, key=lambda each: (each is run.training, each.number), default=None)


def why_not(tx: Transaction, death: GenerationDied) -> str:  # noqa: PLR0911 - a ladder
    """Why the training is not started again, a clause; empty: nothing speaks against it. Its state is not asked for."""
    rules, training, last = tx.policy.restart, tx.training, tx.ledger.restarts
    if not tx.may_act:
        return why_only_watching(tx.run, tx.policy)
    if not rules.after_crash:
        return "the policy says restart.after_crash: false"
    if _was_being_stopped(tx):
        return "it was being stopped"
    if not may_be_a_crash(death.exit):
        return f"it ended as if somebody had asked for it ({ending(death.exit)})"
    trained = totals_of(training).batches
    if trained < rules.batches_min:
        return f"it died within its first {plural(rules.batches_min, 'batch')}, which is a mistake in the script"
    if last.at is not None and last.way == way_of(death) and not _came_further(training, last.at):
        return "it died in the same way after the last new start, and had not come further"
    return ""


def why_no_more(rules: Restart, restarts: Restarts) -> str:
    """Why the tries are spent, `restarts` being what they are with this one; empty: they are not."""
    if restarts.out_of_memory > rules.out_of_memory_tries:
        tries = plural(rules.out_of_memory_tries, "new start")
        return f"the memory of the GPU was full again after {tries}, so a smaller batch size is the cure"
    if restarts.count > rules.tries:
        return f"it died again after {plural(rules.tries, 'new start')} from the same state"
    return ""


def counted(tx: Transaction, death: GenerationDied) -> Restarts:
    """The tries with this one. A newer state to start from begins the count anew."""
    last, newest = tx.ledger.restarts, go_back.newest_state(tx.training, tx.policy)
    target = newest.digest if newest else ""
    if target != last.target:
        last = Restarts()
    return Restarts(
        last.count + 1, last.out_of_memory + out_of_memory(death), target, way_of(death), tx.training.died_at
    )


def _was_being_stopped(tx: Transaction) -> bool:
    pending = [each.ledger.pending for each in tx.run.trainings.values() if each.ledger.pending]
    stopping = any(one.order.kind == OrderKind.STOP and not one.order.plan for one in pending)
    leaving = any(each.ledger.leaving for each in tx.run.trainings.values())
    return stopping or leaving or tx.ledger.given_up_in == tx.run.generation


def _came_further(training: TrainingState, before: Position) -> bool:
    """By more than one batch: the record of the last one may have been lost with the process that died first."""
    at = training.died_at
    return at is not None and (at.epoch, at.batch) > (before.epoch, before.batch + 1)
