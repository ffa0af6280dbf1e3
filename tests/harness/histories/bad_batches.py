"""Batches that are not finite, on a state that stays clean."""

from __future__ import annotations

from monitor.core.model import (
    RunEnded,
)
from monitor.core.policy.settings import Policy, Watch
from tests.harness.histories.pieces import answered, bad, begun, epoch, exited, fed, good, history
from tests.harness.simulated_run import RUN
from tests.harness.simulation import Simulation


@history
def one_bad_batch() -> Simulation:
    simulation = begun()
    epoch(simulation, 1)
    good(simulation, 30)
    bad(simulation, 1)
    good(simulation, 30)
    return simulation


@history
def the_first_batch_is_bad() -> Simulation:
    simulation = begun()
    bad(simulation, 1)
    good(simulation, 1)
    return simulation


@history
def bad_from_the_first() -> Simulation:
    simulation = begun()
    bad(simulation, 8)
    answered(simulation)
    exited(simulation, (75, None), relaunch=False)
    return fed(simulation, RunEnded(RUN, "stopped", ""))


@history
def recovered_by_itself() -> Simulation:
    simulation = begun(batches_per_epoch=1000, policy=Policy(watch=Watch(recovery_batches=60)))
    good(simulation, 300)
    for _ in range(4):
        bad(simulation, 1)
        good(simulation, 5)
    good(simulation, 900)
    return simulation


@history
def only_watched() -> Simulation:
    simulation = begun(act=False)
    epoch(simulation, 1)
    bad(simulation, 12)
    good(simulation, 5)
    return simulation


@history
def changed_in_place() -> Simulation:
    simulation = begun(batches_per_epoch=2000)
    good(simulation, 1000)
    while simulation.pending is None:
        bad(simulation, 1)
        good(simulation, 5)
    answered(simulation)
    good(simulation, 60)
    return simulation


@history
def a_change_is_refused() -> Simulation:
    simulation = begun(batches_per_epoch=2000)
    good(simulation, 1000)
    while simulation.pending is None:
        bad(simulation, 1)
        good(simulation, 5)
    answered(simulation, "refused", "it has no optimizer")
    good(simulation, 60)
    return simulation


@history
def a_change_is_not_answered() -> Simulation:
    simulation = begun(batches_per_epoch=2000)
    good(simulation, 1000)
    while simulation.pending is None:
        bad(simulation, 1)
        good(simulation, 5)
    simulation.tick(121)
    return simulation


@history
def a_change_did_not_help() -> Simulation:
    simulation = begun(batches_per_epoch=4000)
    good(simulation, 1000)
    for _ in range(500):
        bad(simulation, 1)
        good(simulation, 5)
        if simulation.pending:
            answered(simulation)
    return simulation


@history
def a_change_helped() -> Simulation:
    simulation = begun(batches_per_epoch=4000)
    good(simulation, 1000)
    while simulation.pending is None:
        bad(simulation, 1)
        good(simulation, 5)
    answered(simulation)
    good(simulation, 2500)
    return simulation
