"""A simulated training whose process dies, and is started again as it is told."""

from __future__ import annotations

from typing import Any

from monitor.core.model import (
    GenerationDied,
    GenerationExited,
    RunEnded,
    SupervisorChanged,
    Verdict,
)
from monitor.core.model.channel import RestartAnswer
from monitor.core.policy.restarts import answer_of
from tests.harness.simulation import SUPERVISOR_PID, Simulation, supervised
from trainer_hooks.wire.messages import EpochEnded, PlanApplied, TrainingEnded
from trainer_hooks.wire.plan import Plan
from trainer_hooks.wire.run_documents import Exit, GenerationOutcome

KILLED, ABORTED, FAILED, UNKNOWN = (None, 9), (None, 6), (1, None), (None, None)
FULL = "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"


def batches(training: Simulation, count: int, *, loss: float = 2.0) -> None:
    for i in range(count):
        training.batch(loss + 0.01 * (i % 7), 3.0 + 0.02 * (i % 5))


def saved(training: Simulation, epoch: int, verdict: Verdict = Verdict.SOUND) -> None:
    training.checkpoint(f"g{training.generation}-e{epoch}", verdict, epoch=epoch)


def trained(done: int, more: int = 30, **options: Any) -> Simulation:
    """Epochs of 100 batches with a checkpoint at the end of each, and some batches of the next one."""
    training = supervised(**options)
    training.restart(1)
    for epoch in range(1, done + 1):
        batches(training, 100)
        training.send(EpochEnded(training.now_s, epoch, 10.0, (2.0,), {}, None))
        saved(training, epoch)
    batches(training, more)
    return training


def die(
    training: Simulation,
    how: tuple[int | None, int | None] = KILLED,
    crash: str = "",
    *,
    by: str = "",
    late_s: float = 0,
    detail: str = "it died",
) -> Plan | None:
    """Its process is gone, and the supervisor asks: the plan of the next generation. It then does what it was told."""
    if crash:
        training.send(TrainingEnded(training.now_s, "exception", crash, 3, {}))
    over = Exit(
        number=training.generation, code=how[0], signal=how[1], ended_s=training.now_s, outcome=GenerationOutcome.FAILED
    )
    until_s = training.now_s + 15
    training.now_s += late_s
    training.feed(GenerationDied("night", over, crash, until_s, by))
    plan = training.plans.get(f"plan-{training.generation + 1}.json")
    expected = RestartAnswer.PLAN if plan else RestartAnswer.NONE
    assert answer_of(training.run) == (RestartAnswer.UNKNOWN if late_s else expected)
    training.feed(GenerationExited("night", over, relaunch=plan is not None))
    if plan is None:
        training.feed(RunEnded("night", "failed", detail))
    return plan


def said(training: Simulation) -> str:
    return "\n".join(training.messages)


def go_on(training: Simulation, plan: Plan | None, count: int = 0) -> None:
    """The next generation starts from its plan, and trains."""
    assert plan is not None, training.messages
    training.in_force = plan.settings
    training.now_s += 60
    training.restart(plan.start_epoch, plan=plan.id)
    training.send(PlanApplied(training.now_s, plan.id, "first step", plan.start_epoch, {}, ()))
    batches(training, count)


def ended(training: Simulation) -> Simulation:
    assert die(training, (None, 15)) is None
    assert training.run.ended
    training.feed(SupervisorChanged("night", SUPERVISOR_PID + 1))
    return training
