"""What people ask for."""

from __future__ import annotations

from monitor.core.model import (
    CommandGiven,
    CommandKind,
    IncidentAcknowledged,
    RunEnded,
)
from tests.harness.histories.pieces import answered, bad, begun, epoch, exited, fed, good, history, obeyed
from tests.harness.simulated_run import RUN
from tests.harness.simulation import Simulation
from trainer_hooks.wire.messages import (
    TrainingEnded,
)


@history
def a_person_stops_it() -> Simulation:
    simulation = begun()
    good(simulation, 130)
    fed(simulation, CommandGiven(RUN, CommandKind.STOP, "ann"))
    answered(simulation)
    simulation.send(TrainingEnded(simulation.now_s, "order", "", 2, {}))
    exited(simulation, (75, None), relaunch=False)
    return fed(simulation, RunEnded(RUN, "stopped", ""))


@history
def a_person_stops_an_incident() -> Simulation:
    simulation = begun()
    epoch(simulation, 1)
    good(simulation, 30)
    bad(simulation, 4)
    fed(simulation, CommandGiven(RUN, CommandKind.STOP, "ann"))
    return simulation


@history
def a_person_asks_for_a_rollback() -> Simulation:
    simulation = begun()
    epoch(simulation, 1)
    good(simulation, 60)
    fed(simulation, CommandGiven(RUN, CommandKind.ROLLBACK, "ann"))
    obeyed(simulation)
    good(simulation, 10)
    return simulation


@history
def a_person_asks_for_a_rollback_to_nothing() -> Simulation:
    simulation = begun()
    good(simulation, 60)
    return fed(simulation, CommandGiven(RUN, CommandKind.ROLLBACK, "ann"))


@history
def a_person_asks_for_other_settings() -> Simulation:
    simulation = begun(batches_per_epoch=1000)
    good(simulation, 60)
    fed(simulation, CommandGiven(RUN, CommandKind.ADJUST, "ann"))
    answered(simulation)
    good(simulation, 30)
    return simulation


@history
def a_person_has_seen_it() -> Simulation:
    simulation = begun()
    good(simulation, 130)
    bad(simulation, 4)
    return fed(simulation, IncidentAcknowledged(RUN, simulation.incident.id, "ann"))
