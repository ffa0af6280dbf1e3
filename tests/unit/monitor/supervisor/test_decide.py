from __future__ import annotations

from pathlib import Path

import pytest

from monitor.supervisor.decide import Decision, ExitContext, decide, may_have_died
from tests.harness.supervisor import plan_for
from trainer_hooks.wire.plan import Receipt
from trainer_hooks.wire.run_documents import Exit, RunOutcome

PLAN = plan_for(2, Path("train"), None)


def gone(code: int | None = 75, signal: int | None = None, **more: bool) -> Exit:
    return Exit(number=1, code=code, signal=signal, ended_s=0.0, **more)


def receipt(outcome: str) -> Receipt:
    return Receipt(
        order="order-2", generation=1, outcome=outcome, detail="", epoch=4, batch=1, read_back={}, written_s=0.0
    )


@pytest.mark.parametrize("outcome", ["applied", "killed", "exited"])
@pytest.mark.parametrize("code", [0, 1, 75])
def test_a_plan_with_a_receipt_is_carried_out(outcome: str, code: int) -> None:
    assert decide(ExitContext(gone(code), PLAN, receipt=receipt(outcome))).relaunch


@pytest.mark.parametrize("outcome", ["refused", "failed"])
def test_a_plan_whose_order_was_not_obeyed_is_void(outcome: str) -> None:
    decision = decide(ExitContext(gone(0), PLAN, receipt=receipt(outcome)))
    assert (decision.how, decision.void) == ("finished", True)


def test_a_generation_we_killed_is_followed_by_its_plan_even_with_exit_code_0() -> None:
    """A trainer that handles SIGTERM well leaves with 0; it has not finished for that."""
    decision = decide(ExitContext(gone(0), PLAN, killed=True))
    assert (decision.relaunch, decision.receipt) == (True, "killed")


@pytest.mark.parametrize(
    "left", [ExitContext(gone(1), PLAN), ExitContext(gone(None, 9), PLAN), ExitContext(gone(None), PLAN)]
)
def test_a_generation_that_died_before_it_obeyed_is_followed_by_its_plan(left: ExitContext) -> None:
    assert (decide(left).relaunch, decide(left).receipt) == (True, "exited")


@pytest.mark.parametrize(
    ("left", "how", "code"),
    [
        (ExitContext(gone(), PLAN, receipt=receipt("applied"), survivors="python (pid 7, state D)"), "held", 75),
        (ExitContext(gone(), PLAN, receipt=receipt("applied"), early_ends=3), "held", 75),
        (ExitContext(gone(None, 2, asked=True), PLAN), "stopped", 130),
        (ExitContext(gone(), plan_error="torn"), "held", 75),
        (ExitContext(gone(), stop=receipt("applied")), "stopped", 75),
        (ExitContext(gone(1), stop=receipt("applied")), "stopped", 75),  # torchrun says 1 of a rank that says 75
        (ExitContext(gone(0), stop=receipt("applied")), "stopped", 75),  # a script that catches it
        (ExitContext(gone(0)), "finished", 0),
        (ExitContext(gone(3)), "failed", 3),
        (ExitContext(gone(None, 11)), "failed", 139),
        (ExitContext(gone(None)), "finished", 0),
        (ExitContext(Exit(number=2, code=75, signal=None, ended_s=0.0)), "held", 75),
    ],
)
def test_a_run_ends(left: ExitContext, how: str, code: int) -> None:
    decision = decide(left)
    assert (decision.how, decision.code) == (how, code)


def test_where_the_tries_end_since_each_ended_early_it_is_said() -> None:
    decision = decide(ExitContext(gone(None, 9), unended=True, early_ends=3))
    assert decision.detail == "ended by SIGKILL; 3 generations in a row ended soon after their start, so none follows"
    assert decide(ExitContext(gone(0), early_ends=3)).detail == "exit code 0"


def test_a_real_time_signal_has_a_name_too() -> None:
    assert decide(ExitContext(gone(None, 40))) == Decision(RunOutcome.FAILED, "ended by signal 40", 168)


@pytest.mark.parametrize(
    ("left", "asks"),
    [
        (ExitContext(gone(1), crash="ValueError: x"), True),
        (ExitContext(gone(None, 9), unended=True), True),
        (ExitContext(gone(137), unended=True), True),
        (ExitContext(gone(None), unended=True, vanished=True), True),
        (ExitContext(gone(1)), False),  # no training had begun, or every one had ended by itself
        (ExitContext(gone(0), unended=True), False),
        (ExitContext(gone(None, 15), unended=True), False),
        (ExitContext(gone(None, 9, asked=True), unended=True), False),
        (ExitContext(gone(None, 9), unended=True, killed=True), False),
        (ExitContext(gone(1), unended=True, stop=receipt("applied")), False),
        (ExitContext(gone(1), PLAN, unended=True), False),
        (ExitContext(gone(1), unended=True, plan_error="torn"), False),
        (ExitContext(gone(1), unended=True, survivors="python (pid 7, state D)"), False),
        (ExitContext(gone(None, 9), unended=True, early_ends=3), False),
        (ExitContext(Exit(number=2, code=75, signal=None, ended_s=0.0), unended=True), False),
    ],
)
def test_the_daemon_is_asked_for_a_plan_where_a_training_was_cut_short_unasked(left: ExitContext, asks: bool) -> None:
    assert may_have_died(left) is asks


def test_a_generation_that_died_is_followed_by_the_plan_that_was_made_for_it() -> None:
    decision = decide(ExitContext(gone(None, 9), PLAN, died=True, early_ends=2))
    assert (decision.relaunch, decision.receipt) == (True, "exited")
    assert decision.detail.startswith("ended by SIGKILL; nobody had asked for that. Generation 2 goes on at epoch ")


@pytest.mark.parametrize("over", [gone(0), gone(None, 2, asked=True), gone(1), gone(None)])
def test_a_person_resumes_a_run_however_it_ended(over: Exit) -> None:
    decision = decide(ExitContext(over, PLAN, resumed_by="ann"))
    assert (decision.relaunch, decision.void) == (True, False)
    assert "ann resumes it" in decision.detail


def test_nothing_is_started_beside_what_still_runs_whoever_asks() -> None:
    left = ExitContext(gone(None, 9), PLAN, resumed_by="ann", survivors="python (pid 7, state D)")
    assert decide(left).how == "held"


def test_an_exception_stands_in_the_last_line_of_the_run_and_not_in_that_of_its_generation() -> None:
    decision = decide(ExitContext(gone(1), crash="ValueError: 7"))
    assert (decision.detail, decision.brief) == ("exit code 1: ValueError: 7", "exit code 1")
