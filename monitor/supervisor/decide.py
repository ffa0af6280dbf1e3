"""What follows when a generation is gone. Pure: papers in, one decision out.

Plan and receipt decide, never an exit code alone: torchrun turns a rank's 75 into 1, and a user's script may catch it.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

from monitor.supervisor.start_errors import HELD
from trainer_hooks.wire.runfolder import Exit, Plan, Receipt

BARREN_MAX = 3


@dataclass(frozen=True, slots=True)
class ExitContext:
    """A generation that is gone, with everything that was found about it."""

    exit: Exit
    plan: Plan | None = None  # for the next generation
    plan_error: str = ""  # why a plan that is there can't be read
    receipt: Receipt | None = None  # of the plan's order
    stop: Receipt | None = None  # of an order to stop for good, obeyed
    killed: bool = False  # we made its first process leave
    interrupted: bool = False  # a person or the system asked us or it to end
    survivors: str = ""  # processes that not even SIGKILL ended
    barren: int = 0  # generations in a row that got nowhere, this one included


@dataclass(frozen=True, slots=True)
class Decision:
    """Start the next generation (`how` is empty), or end the run."""

    how: str  # "", "finished", "failed", "stopped", "held"
    detail: str
    code: int = 0
    receipt: str = ""  # the outcome of the receipt that we must write for the plan's order first
    void: bool = False  # the plan must never be carried out

    @property
    def relaunch(self) -> bool:
        return not self.how


def decide(left: ExitContext) -> Decision:
    """The decision, with the sentence for the user."""
    code = shell_code(left.exit)
    return _forbidden(left, code) or (_by_plan(left, left.plan, code) if left.plan else _without_plan(left, code))


def _forbidden(left: ExitContext, code: int) -> Decision | None:
    """What no plan can overrule; None: nothing stands against it."""
    if left.survivors:
        return Decision("held", f"still there after SIGKILL: {left.survivors}; nothing is started over them", HELD)
    if left.interrupted:
        return Decision("stopped", "it was asked to end", code, void=left.plan is not None)
    if left.plan_error:
        return Decision("held", f"a plan is there and can't be read: {left.plan_error}", HELD)
    return None


def _without_plan(left: ExitContext, code: int) -> Decision:
    if left.stop is not None:
        return Decision("stopped", left.stop.detail or "an order to stop was obeyed", code)
    if left.exit.code == HELD and left.exit.number > 1:
        return Decision("held", "the training would not start from its plan (exit 75)", HELD)
    if left.exit.code is None and left.exit.signal is None:
        return Decision("finished", "its exit code is unknown: it was not our child", 0)
    return Decision("failed" if code else "finished", _ending(left.exit), code)


def _by_plan(left: ExitContext, plan: Plan, code: int) -> Decision:
    outcome = left.receipt.outcome if left.receipt else ""
    if outcome in ("refused", "failed"):
        detail = (
            f"the order to go back was {outcome} ({left.receipt.detail if left.receipt else ''}); {_ending(left.exit)}"
        )
        return Decision("failed" if code else "finished", detail, code, void=True)
    if not outcome and left.exit.code == 0 and not left.killed:
        return Decision("finished", f"it finished first: plan {plan.id} is void", 0, void=True)
    if left.barren >= BARREN_MAX:
        return Decision("held", f"{left.barren} generations in a row ended before they got anywhere", HELD)
    if outcome:
        return Decision("", "the order was obeyed" if outcome == "applied" else f"the training {outcome}")
    if left.killed:
        return Decision("", "it did not leave in time and was made to", receipt="killed")
    return Decision("", f"it ended before the order was obeyed: {_ending(left.exit)}", receipt="exited")


def _ending(over: Exit) -> str:
    if over.signal is not None:
        return f"ended by {signal_name(over.signal)}"
    return "exit code unknown" if over.code is None else f"exit code {over.code}"


def shell_code(over: Exit) -> int:
    """As a shell reports it: 128 + signal; unknown is 0."""
    if over.signal is not None:
        return 128 + over.signal
    return over.code or 0


def signal_name(number: int) -> str:
    """SIGKILL for 9; a real-time signal has only a number."""
    return next((known.name for known in signal.Signals if known == number), f"signal {number}")
