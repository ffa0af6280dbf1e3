"""Lost records, spikes, ranks, loops without an end."""

from __future__ import annotations

import math

from tests.harness.histories.bad_batches import a_change_helped
from tests.harness.histories.pieces import answered, bad, begun, epoch, finished, good, history
from tests.harness.simulation import ACTING, Simulation
from trainer_hooks.wire.messages import (
    HookTrouble,
)


@history
def missed_batches() -> Simulation:
    simulation = begun()
    good(simulation, 30)
    simulation.batch(2.0, 3.0, missed=1)
    good(simulation, 30)
    return finished(simulation)


@history
def a_bad_batch_among_missed_ones() -> Simulation:
    simulation = begun()
    good(simulation, 130)
    simulation.batch(math.nan, math.nan, missed=2)
    good(simulation, 3)
    return finished(simulation)


@history
def a_hook_is_switched_off() -> Simulation:
    simulation = begun()
    good(simulation, 30)
    simulation.send(HookTrouble(simulation.now_s, "on_batch", "KeyError: 'x'", switched_off=True))
    return simulation


@history
def the_scaler_overflows() -> Simulation:
    simulation = begun(scaler=True)
    epoch(simulation, 1)
    for _ in range(20):
        simulation.batch(2.0, 3.0, overflow=True, scale=1.0, rate=0.0005)
    return simulation


@history
def a_spike() -> Simulation:
    simulation = begun(policy=ACTING)
    epoch(simulation, 1)
    good(simulation, 90)
    for _ in range(30):
        simulation.batch(60.0, 90.0, rate=0.0005)
    return simulation


@history
def a_second_rank_is_bad() -> Simulation:
    simulation = begun()
    for _ in range(130):
        simulation.batch(2.0, 3.0)
        simulation.batch(2.0, 3.0, rank=1)
    for _ in range(9):
        simulation.batch(2.0, 3.0)
        simulation.batch(math.nan, math.nan, rank=1)
    return simulation


@history
def a_second_incident() -> Simulation:
    simulation = a_change_helped()
    good(simulation, 100)
    for _ in range(12):
        bad(simulation, 1)
        good(simulation, 3)
        if simulation.pending:
            answered(simulation)
    return simulation


@history
def steps_of_unknown_number() -> Simulation:
    """A loop written by hand, of which nobody said how long it is."""
    simulation = begun(framework="plain", versions={"torch": "2.9"}, epochs=1, batches_per_epoch=0, part_names=(),
                       deadline_s=1_763_424_000.0 + 3600)  # fmt: skip
    for i in range(60):
        simulation.batch(2.0 + 0.01 * (i % 7), 3.0, rate=0.0005)
    return simulation


@history
def steps_of_unknown_number_are_bad() -> Simulation:
    simulation = steps_of_unknown_number()
    bad(simulation, 9)
    return simulation
