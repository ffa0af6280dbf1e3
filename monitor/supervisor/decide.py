"""Decides what follows when a generation has ended. Pure: documents of the run folder in, one decision out.

Plan and receipt decide, never an exit code alone: torchrun turns a rank's 75 into 1, and a user's script may catch it.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

from monitor.core.model.outcomes import RUN_OUTCOMES, SHELL_SIGNAL, ending, may_be_a_crash, outcome_of
from monitor.errors import EXIT_HELD
from trainer_hooks.wire.plan import Plan, Receipt
from trainer_hooks.wire.run_documents import Exit, GenerationOutcome, RunOutcome
from trainer_hooks.wire.words import NOT_DONE, OrderOutcome

EARLY_ENDS_MAX = 3  # generations in a row


@dataclass(frozen=True, slots=True)
class ExitContext:
    """A generation that has ended, with everything that was found about it."""

    exit: Exit
    plan: Plan | None = None  # for the next generation
    plan_error: str = ""  # why a plan that is there can't be read
    receipt: Receipt | None = None  # of the plan's order
    stop: Receipt | None = None  # of an obeyed order to stop or to go back
    killed: bool = False  # the supervisor had to end its first process by signals
    survivors: str = ""  # processes that not even SIGKILL ended
    crash: str = ""  # the exception that ended its last training; empty: none, or it was not reported
    vanished: bool = False  # nobody can read its exit code, and a training of it reported no end: it was killed
    early_ends: int = 0  # generations in a row, this one included; see RunDocuments.early_ends
    unended: bool = False  # a training of it began, and reported no end
    died: bool = False  # the plan was made because it died
    resumed_by: str = ""  # the person who resumes the run; empty: nobody does

    @property
    def outcome(self) -> GenerationOutcome:
        """How this generation ended."""
        obeyed = self.stop is not None or (self.receipt is not None and self.receipt.outcome == OrderOutcome.APPLIED)
        return outcome_of(self.exit, order_obeyed=obeyed, made_to_leave=self.killed or self.vanished)


@dataclass(frozen=True, slots=True)
class Decision:
    """Start the next generation (`how` is None), or end the run."""

    how: RunOutcome | None
    detail: str  # the reason, for the user
    code: int = 0  # the exit code of the supervisor, if the run ends
    receipt: str = ""  # the outcome of the receipt that we must write for the plan's order first
    void: bool = False  # the plan must never be carried out
    brief: str = ""  # the reason without the exception, which the last line of the run names; empty: it is `detail`

    @property
    def relaunch(self) -> bool:
        return self.how is None


def decide(context: ExitContext) -> Decision:
    """Start the next generation or end the run, and why."""
    if (barred := _barred(context)) is not None:
        return barred
    if context.plan is None:
        return _without_plan(context)
    return _again(context, context.plan) if context.died or context.resumed_by else _by_plan(context, context.plan)


def may_have_died(context: ExitContext) -> bool:
    """True where a training was cut short by nobody's wish, so that the daemon is asked for a new start."""
    refused_plan = context.exit.code == EXIT_HELD and context.exit.number > 1
    wished = context.outcome is GenerationOutcome.INTERRUPTED or context.killed or context.stop is not None
    undecidable = context.plan is not None or context.plan_error or context.survivors
    if refused_plan or wished or undecidable or context.early_ends >= EARLY_ENDS_MAX:
        return False
    return may_be_a_crash(context.exit) and bool(context.crash or context.unended)


def _barred(context: ExitContext) -> Decision | None:
    """The end of the run where no plan may be carried out; None: nothing is against it."""
    if context.survivors:
        detail = f"still running after SIGKILL: {context.survivors}. Nothing is started beside them"
        return Decision(RunOutcome.HELD, detail, EXIT_HELD)
    if context.outcome is GenerationOutcome.INTERRUPTED and not context.resumed_by:
        detail = "a person or the system asked it to end"
        return Decision(RunOutcome.STOPPED, detail, shell_code(context.exit), void=context.plan is not None)
    if context.plan_error:
        return Decision(RunOutcome.HELD, f"the plan for the next generation: {context.plan_error}", EXIT_HELD)
    return None


def _without_plan(context: ExitContext) -> Decision:
    code = shell_code(context.exit)
    if context.stop is not None:
        detail = context.stop.detail or "the training carried out an order to stop"
        return Decision(RunOutcome.STOPPED, detail, EXIT_HELD)  # its own code may be torchrun's 1
    if context.exit.code == EXIT_HELD and context.exit.number > 1:
        return Decision(RunOutcome.HELD, "the training refused to start from its plan (exit code 75)", EXIT_HELD)
    if context.outcome is GenerationOutcome.UNKNOWN and context.crash:
        return Decision(RunOutcome.FAILED, f"its exit code is unknown; it ended with {context.crash}", 1)
    if context.outcome is GenerationOutcome.UNKNOWN:  # taken over: the daemon, which has its records, alerts
        return Decision(RunOutcome.FINISHED, "its exit code is unknown, because it was started by another supervisor")
    if context.vanished:
        detail = "it reported no end, so it was killed or crashed outside Python; its exit code is unknown"
        return Decision(RUN_OUTCOMES[context.outcome], detail, SHELL_SIGNAL + signal.SIGKILL)
    crash = f": {context.crash}" if context.crash and context.outcome is GenerationOutcome.FAILED else ""
    early = ""
    if context.early_ends >= EARLY_ENDS_MAX and may_be_a_crash(context.exit):
        early = f"; {context.early_ends} generations in a row ended soon after their start, so none follows"
    how, ended = RUN_OUTCOMES[context.outcome], ending(context.exit)
    return Decision(how, f"{ended}{crash}{early}", code, brief=f"{ended}{early}" if crash else "")


def _again(context: ExitContext, plan: Plan) -> Decision:
    """Its plan was made after it had ended: there was no order that it could have refused."""
    why = f"{context.resumed_by} resumes it" if context.resumed_by else "nobody had asked for that"
    detail = f"{ending(context.exit)}; {why}. Generation {plan.generation} goes on at epoch {plan.start_epoch}"
    return Decision(None, detail, receipt="" if context.receipt else OrderOutcome.EXITED)


def _by_plan(context: ExitContext, plan: Plan) -> Decision:
    receipt = context.receipt.outcome if context.receipt else ""
    if context.receipt is not None and receipt in NOT_DONE:
        detail = f"the order to go back was {receipt} ({context.receipt.detail}); {ending(context.exit)}"
        return Decision(RUN_OUTCOMES[context.outcome], detail, shell_code(context.exit), void=True)
    if not receipt and context.exit.code == 0 and not context.killed:
        detail = f"it finished before it saw the order, so plan {plan.id} is void"
        return Decision(RunOutcome.FINISHED, detail, void=True)
    if context.early_ends >= EARLY_ENDS_MAX:
        detail = f"{context.early_ends} generations in a row ended soon after their start"
        return Decision(RunOutcome.HELD, detail, EXIT_HELD)
    if receipt:
        return Decision(
            None,
            "it carried out the order to go back" if receipt == OrderOutcome.APPLIED else f"the training {receipt}",
        )
    if context.outcome is GenerationOutcome.KILLED:
        return Decision(None, "it did not leave in time and was ended", receipt=OrderOutcome.KILLED)
    return Decision(
        None, f"it ended before it carried out the order: {ending(context.exit)}", receipt=OrderOutcome.EXITED
    )


def shell_code(over: Exit) -> int:
    """As a shell reports it: 128 + signal; unknown is 0."""
    if over.signal is not None:
        return SHELL_SIGNAL + over.signal
    return over.code or 0
