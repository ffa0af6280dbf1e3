"""Trainings in which nothing, or nearly nothing, goes wrong."""

from __future__ import annotations

from tests.harness.histories.pieces import bad, begun, epoch, finished, good, history, played
from tests.harness.simulation import Simulation, supervised
from trainer_hooks.wire.messages import (
    PhaseChanged,
)


@history
def not_started() -> Simulation:
    return supervised()


@history
def started_only() -> Simulation:
    return begun()


@history
def one_batch() -> Simulation:
    simulation = begun()
    good(simulation, 1)
    return simulation


@history
def one_batch_finished() -> Simulation:
    simulation = begun(epochs=1, batches_per_epoch=1, deadline_s=1_763_424_000.0 + 3600)
    epoch(simulation, 1, 1)
    return finished(simulation, 1)


@history
def two_epochs_finished() -> Simulation:
    return played(lambda at: False, epochs=2, batches_per_epoch=120)


@history
def steps_without_an_end() -> Simulation:
    simulation = begun(epochs=1, batches_per_epoch=0x7FFFFFFF)
    good(simulation, 60)
    return simulation


@history
def a_deadline_missed() -> Simulation:
    simulation = begun(deadline_s=1_763_424_000.0 + 10)
    good(simulation, 150)
    return simulation


@history
def a_deadline_that_has_passed() -> Simulation:
    return played(lambda at: False, epochs=2, batches_per_epoch=120, deadline_s=1_763_424_000.0 + 100)


@history
def negative_losses() -> Simulation:
    simulation = begun()
    for i in range(150):
        simulation.batch(-2.0 - 0.01 * (i % 7), 3.0, rate=0.0005)
    bad(simulation, 9)
    return simulation


@history
def without_loss_or_norm() -> Simulation:
    simulation = begun()
    for _ in range(150):
        simulation.batch(None, None)
    return finished(simulation)


@history
def only_validation() -> Simulation:
    simulation = begun()
    simulation.send(PhaseChanged(simulation.now_s, 1, "validate"))
    simulation.tick(60)
    return finished(simulation)
