"""What simulated histories are made of: batches, epochs, answers, ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from monitor.core.model import (
    GenerationDied,
    GenerationExited,
    Input,
    RunEnded,
    Verdict,
)
from monitor.core.policy.settings import Policy, Rollback, Watch
from monitor.core.policy.table_settings import WhenClean
from tests.harness.said import Played
from tests.harness.simulated_run import RUN
from tests.harness.simulation import At, Simulation, supervised
from trainer_hooks.wire.messages import (
    EpochEnded,
    OrderApplied,
    PlanApplied,
    TrainingEnded,
)
from trainer_hooks.wire.plan import Plan
from trainer_hooks.wire.run_documents import Exit, GenerationOutcome

P = TypeVar("P", bound=Played)
HISTORIES: dict[str, Callable[[], Played]] = {}
ROLLBACK = Policy(when_clean=WhenClean.ROLLBACK, rollback=Rollback(redo_limit_epochs=9.0), watch=Watch(batches_min=40))
KILLED, FAILED, DONE = (None, 9), (1, None), (0, None)


def history(make: Callable[[], P]) -> Callable[[], P]:
    """Add it to HISTORIES by the name of the function."""
    HISTORIES[make.__name__] = make
    return make


def begun(**options: Any) -> Simulation:
    """A run whose first training has begun and has trained nothing."""
    simulation = supervised(**options)
    simulation.restart(1)
    return simulation


def good(simulation: Simulation, batches: int, loss: float = 2.0, **fields: Any) -> None:
    """Batches of a healthy training."""
    for i in range(batches):
        simulation.batch(loss + 0.01 * (i % 7), 3.0 + 0.02 * (i % 5), **({"rate": 0.0005} | fields))


def bad(simulation: Simulation, batches: int, **fields: Any) -> None:
    """Batches whose loss and gradient are not finite."""
    for _ in range(batches):
        simulation.batch(math.nan, math.nan, **({"rate": 0.0005} | fields))


def epoch(simulation: Simulation, number: int, batches: int = 100, verdict: Verdict = Verdict.SOUND) -> None:
    """The rest of an epoch, and its checkpoint."""
    good(simulation, batches)
    simulation.send(EpochEnded(simulation.now_s, number, batches * 0.1, (2.0,), {"mAP50": 0.1 * number}, 0.1 * number))
    simulation.checkpoint(f"g{simulation.generation}e{number}" * 8, verdict, epoch=number)


def answered(simulation: Simulation, outcome: str = "applied", detail: str = "") -> Plan | None:
    """The training answers the order that is on its way: its plan."""
    order, simulation.pending = simulation.pending, None
    assert order is not None, simulation.messages
    number, batch = simulation.place()
    simulation.send(OrderApplied(simulation.now_s, order.id, outcome, detail, number, batch, {}))
    return simulation.plans.get(order.plan)


def exited(simulation: Simulation, how: tuple[int | None, int | None], *, relaunch: bool) -> None:
    """The process of the generation is gone."""
    over = Exit(number=simulation.generation, code=how[0], signal=how[1], ended_s=simulation.now_s)
    simulation.feed(GenerationExited(RUN, over, relaunch=relaunch))


def started_again(simulation: Simulation, plan: Plan | None, after_s: float = 30.0) -> None:
    """The next generation begins from the plan, and has trained nothing."""
    assert plan is not None, simulation.messages
    simulation.now_s += after_s
    simulation.in_force = plan.settings
    simulation.restart(plan.start_epoch, plan=plan.id)
    simulation.send(PlanApplied(simulation.now_s, plan.id, "first step", plan.start_epoch, {}, ()))


def obeyed(simulation: Simulation) -> None:
    """The order to stop is carried out, and the next generation begins from its plan."""
    plan = answered(simulation)
    exited(simulation, (75, None), relaunch=True)
    started_again(simulation, plan)


def died(simulation: Simulation, how: tuple[int | None, int | None] = KILLED, crash: str = "", by: str = "") -> None:
    """The process dies; it is started again where the policy says so, else the run fails."""
    if crash:
        simulation.send(TrainingEnded(simulation.now_s, "exception", crash, 1, {}))
    over = Exit(
        number=simulation.generation, code=how[0], signal=how[1], ended_s=simulation.now_s,
        outcome=GenerationOutcome.FAILED,
    )  # fmt: skip
    simulation.feed(GenerationDied(RUN, over, crash, simulation.now_s + 15, by))
    plan = simulation.plans.get(f"plan-{simulation.generation + 1}.json")
    simulation.feed(GenerationExited(RUN, over, relaunch=plan is not None))
    if plan is None:
        simulation.feed(RunEnded(RUN, "failed", "its process died"))
    else:
        started_again(simulation, plan)


def finished(simulation: Simulation, epochs: int = 8) -> Simulation:
    """The training and its run end well."""
    simulation.send(TrainingEnded(simulation.now_s, "finished", "", epochs, {"mAP50": 0.7}))
    exited(simulation, DONE, relaunch=False)
    simulation.feed(RunEnded(RUN, "finished", ""))
    return simulation


def fed(simulation: Simulation, *inputs: Input) -> Simulation:
    for given in inputs:
        simulation.feed(given)
    return simulation


def played(fault: Callable[[At], bool], **options: Any) -> Simulation:
    """A training that runs by itself."""
    simulation = supervised(fault=fault, **options)
    simulation.train()
    return simulation
