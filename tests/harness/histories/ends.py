"""Crashes, kills and other ends."""

from __future__ import annotations

from monitor.core.model import (
    GenerationDied,
    GenerationExited,
    RunEnded,
    SupervisorChanged,
)
from tests.harness.histories.going_back import damaged
from tests.harness.histories.pieces import (
    DONE,
    FAILED,
    bad,
    begun,
    died,
    epoch,
    exited,
    fed,
    finished,
    good,
    history,
    started_again,
)
from tests.harness.simulated_run import RUN
from tests.harness.simulation import Simulation, supervised
from trainer_hooks.wire.messages import (
    TrainingEnded,
)
from trainer_hooks.wire.run_documents import Exit


@history
def killed_and_started_again() -> Simulation:
    simulation = begun()
    epoch(simulation, 1)
    good(simulation, 1)
    died(simulation)
    good(simulation, 5)
    return simulation


@history
def crashed_and_started_again() -> Simulation:
    simulation = begun()
    epoch(simulation, 1)
    epoch(simulation, 2)
    good(simulation, 30)
    died(simulation, FAILED, "RuntimeError: the link is down, at train.py:7")
    epoch(simulation, 3)
    return simulation


@history
def crashed_at_once() -> Simulation:
    simulation = begun()
    died(simulation, FAILED, "ValueError: bad value, at train.py:7")
    return simulation


@history
def crashed_before_a_training() -> Simulation:
    simulation = supervised()
    simulation.driver.start_generation(pid=1001)
    died(simulation, FAILED)
    return simulation


@history
def memory_full() -> Simulation:
    simulation = begun()
    epoch(simulation, 1)
    good(simulation, 2)
    died(simulation, FAILED, "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB")
    good(simulation, 5)
    return simulation


@history
def dies_again_and_again() -> Simulation:
    simulation = begun()
    epoch(simulation, 1)
    good(simulation, 40)
    for _ in range(6):
        if simulation.run.ended:
            break
        died(simulation)
        good(simulation, 3)
    return simulation


@history
def killed_while_it_goes_back() -> Simulation:
    simulation = damaged()
    died(simulation)
    return simulation


@history
def died_with_the_machine() -> Simulation:
    simulation = begun()
    epoch(simulation, 1)
    good(simulation, 30)
    over = Exit(number=1, code=None, signal=None, ended_s=simulation.now_s)
    return fed(simulation, SupervisorChanged(RUN, 0, with_training=True),
               GenerationExited(RUN, over, relaunch=False, with_machine=True))  # fmt: skip


@history
def resumed_after_the_machine() -> Simulation:
    simulation = died_with_the_machine()
    simulation.now_s += 7200
    over = Exit(number=1, code=None, signal=None, ended_s=simulation.now_s)
    fed(simulation, SupervisorChanged(RUN, 999),
        GenerationDied(RUN, over, "", simulation.now_s + 15, "ada", with_machine=True),
        GenerationExited(RUN, over, relaunch=True))  # fmt: skip
    started_again(simulation, simulation.plans.get("plan-2.json"))
    good(simulation, 20)
    return simulation


@history
def its_supervisor_died() -> Simulation:
    simulation = begun()
    good(simulation, 30)
    return fed(simulation, SupervisorChanged(RUN, 0))


@history
def its_supervisor_died_in_an_incident() -> Simulation:
    simulation = damaged()
    return fed(simulation, SupervisorChanged(RUN, 0))


@history
def vanished() -> Simulation:
    simulation = begun(supervisor_pid=0, act=False)
    good(simulation, 30)
    exited(simulation, (None, None), relaunch=False)
    return simulation


@history
def vanished_in_an_incident() -> Simulation:
    simulation = begun(supervisor_pid=0, act=False)
    good(simulation, 130)
    bad(simulation, 4)
    exited(simulation, (None, None), relaunch=False)
    return simulation


@history
def no_training_was_seen() -> Simulation:
    simulation = supervised()
    simulation.driver.start_generation(pid=1001)
    exited(simulation, DONE, relaunch=False)
    return fed(simulation, RunEnded(RUN, "finished", ""))


@history
def ended_with_an_incident_open() -> Simulation:
    simulation = begun()
    good(simulation, 790)
    bad(simulation, 4)
    good(simulation, 6)
    return finished(simulation)


@history
def interrupted() -> Simulation:
    simulation = begun()
    good(simulation, 30)
    simulation.send(TrainingEnded(simulation.now_s, "interrupted", "", 1, {}))
    exited(simulation, (None, 2), relaunch=False)
    return fed(simulation, RunEnded(RUN, "stopped", "Ctrl-C"))
