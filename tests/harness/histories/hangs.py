"""Trainings that stand still."""

from __future__ import annotations

from tests.harness.histories.pieces import bad, begun, epoch, good, history, obeyed
from tests.harness.simulation import ACTING, Simulation
from trainer_hooks.wire.messages import (
    StacksSeen,
)


def still(simulation: Simulation, seconds: float, step_s: float = 10.0) -> None:
    """It stands still; its hook answers every request for its stacks."""
    for _ in range(int(seconds / step_s)):
        simulation.tick(step_s)
        if simulation.pending is not None and simulation.pending.kind == "stacks":
            order, simulation.pending = simulation.pending, None
            frames = ("MainThread\n  train.py:7 in <module>\n  queue.py:171 in get",)
            simulation.send(StacksSeen(simulation.now_s, order.id, "train", seconds, "hook", frames))


@history
def stands_still() -> Simulation:
    simulation = begun()
    epoch(simulation, 1)
    good(simulation, 30)
    still(simulation, 120)
    return simulation


@history
def stands_still_and_is_started_again() -> Simulation:
    simulation = begun(policy=ACTING)
    epoch(simulation, 1)
    good(simulation, 30)
    still(simulation, 1200, 20)
    if simulation.pending is not None:
        obeyed(simulation)
        good(simulation, 30)
    return simulation


@history
def stands_still_then_nan() -> Simulation:
    simulation = stands_still_and_is_started_again()
    while simulation.pending is None:
        bad(simulation, 1, cured=False)
    return simulation


@history
def stands_still_without_a_checkpoint() -> Simulation:
    simulation = begun(policy=ACTING)
    good(simulation, 30)
    still(simulation, 1800, 30)
    return simulation


@history
def goes_on_by_itself_then_nan() -> Simulation:
    simulation = stands_still_without_a_checkpoint()
    good(simulation, 40)
    for _ in range(4):
        bad(simulation, 1)
        good(simulation, 5)
    return simulation


@history
def stands_still_before_its_first_batch() -> Simulation:
    simulation = begun(policy=ACTING)
    still(simulation, 4000, 100)
    return simulation


@history
def stopped_from_outside() -> Simulation:
    simulation = begun(policy=ACTING)
    epoch(simulation, 1)
    good(simulation, 30)
    for _ in range(100):
        simulation.tick(20)
        if simulation.pending is not None and simulation.pending.kind == "stacks":
            order, simulation.pending = simulation.pending, None
            simulation.send(StacksSeen(simulation.now_s, order.id, "train", 100, "hook", ("MainThread\n  a.py:1 in f",),
                                       stopped=True))  # fmt: skip
    return simulation
