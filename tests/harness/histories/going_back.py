"""Trainings that are damaged, and go back or try to."""

from __future__ import annotations

from typing import Any

from monitor.core.model import (
    Verdict,
)
from monitor.core.policy.settings import Policy, Rollback
from tests.harness.histories.pieces import (
    ROLLBACK,
    answered,
    bad,
    begun,
    epoch,
    finished,
    good,
    history,
    obeyed,
    played,
)
from tests.harness.simulation import Simulation, supervised


def damaged(**options: Any) -> Simulation:
    """NaN weights after an epoch with a clean checkpoint."""
    simulation = begun(**options)
    epoch(simulation, 1)
    good(simulation, 40)
    while simulation.pending is None:
        bad(simulation, 1, cured=False)
    return simulation


@history
def going_back_now() -> Simulation:
    return damaged()


@history
def went_back_once() -> Simulation:
    simulation = damaged()
    obeyed(simulation)
    good(simulation, 30)
    return simulation


@history
def went_back_and_proven() -> Simulation:
    return played(lambda at: at.generation == 1 and at.epoch == 4 and at.batch >= 30 and at.batch % 7 == 0,
                  batches_per_epoch=120, cured=False)  # fmt: skip


@history
def went_back_and_relapsed() -> Simulation:
    return played(lambda at: at.epoch == 3 and at.batch > 40, cured=False)


@history
def every_rollback_spent() -> Simulation:
    return played(lambda at: at.epoch >= 3 and at.batch > 40 and at.batch % 3 == 0, cured=False, batches_max=4000)


@history
def rollback_of_the_policy() -> Simulation:
    return played(lambda at: at.epoch == 2 and at.generation == 1 and at.batch > 40 and at.batch % 9 == 0,
                  policy=ROLLBACK)  # fmt: skip


@history
def went_back_by_one_batch() -> Simulation:
    simulation = begun(policy=Policy(rollback=Rollback(healthy_batches=0)))
    epoch(simulation, 1)
    while simulation.pending is None:
        bad(simulation, 1, cured=False)
    obeyed(simulation)
    good(simulation, 1)
    return simulation


@history
def refuses_to_go_back() -> Simulation:
    simulation = supervised(verdict=lambda _: Verdict.SOUND, obey=False, cured=False, batches_max=900,
                            fault=lambda at: at.epoch == 3 and at.batch > 40)  # fmt: skip
    simulation.train()
    return simulation


@history
def nothing_clean() -> Simulation:
    return played(lambda at: at.epoch == 3 and at.batch > 40, cured=False, verdict=lambda _: Verdict.POISONED)


def inside(**options: Any) -> Simulation:
    """Ruined after a snapshot in the middle of an epoch, in a training that goes back in its process."""
    simulation = begun(goes_back=True, **options)
    for batches, saved in ((100, (1, 0)), (60, (1, 60)), (20, None)):
        good(simulation, batches, 1.0)
        if saved:
            simulation.checkpoint(f"{saved[1]:064d}", epoch=saved[0], extra_batches=saved[1])
    while simulation.pending is None:
        bad(simulation, 1, cured=False)
    return simulation


def back(simulation: Simulation, epochs: int = 1, extra: int = 60) -> None:
    """It goes back in its process to a state that holds so much, and its counts go on."""
    epoch, batch = simulation.place()
    answered(simulation, "applied", f"gone back to batch {extra} of epoch {epochs + 1}")
    simulation.gone_back += (epoch - 1 - epochs) * simulation.batches_per_epoch + batch - extra


@history
def went_back_in_its_process() -> Simulation:
    simulation = inside()
    back(simulation)
    good(simulation, 1, 1.0)
    return simulation


@history
def went_back_in_its_process_and_finished() -> Simulation:
    simulation = inside()
    back(simulation)
    good(simulation, 640, 1.0)
    return finished(simulation)


@history
def went_back_in_its_process_into_the_epoch_before() -> Simulation:
    """As in the demo: bad steps are skipped, and the policy goes back all the same."""
    simulation = begun(goes_back=True, policy=ROLLBACK, batches_per_epoch=80)
    for number in (1, 2, 3):
        good(simulation, 62)
        simulation.checkpoint(f"{number}" * 64, epoch=number - 1, extra_batches=62)
        epoch(simulation, number, 18)
    good(simulation, 32)
    while simulation.pending is None:
        bad(simulation, 1)
        good(simulation, 5)
    back(simulation, 2, 62)
    simulation.setting("learning_rate/weight", "0.0005", "0.00025", "plan")
    good(simulation, 1, rate=0.00025)
    epoch(simulation, 3, 17)
    good(simulation, 10, rate=0.00025)
    return simulation


@history
def declines_to_go_back() -> Simulation:
    simulation = inside()
    answered(simulation, "declined", "the last 10 batches are finite")
    good(simulation, 10, 1.0)
    return simulation


@history
def can_not_go_back_in_its_process() -> Simulation:
    simulation = inside()
    answered(simulation, "failed", "the loader has no state")
    obeyed(simulation)
    good(simulation, 5)
    return simulation


@history
def does_not_answer_the_order_to_go_back() -> Simulation:
    simulation = inside()
    simulation.tick(121)
    return simulation


def by_steps(**options: Any) -> Simulation:
    """A loop written by hand, whose state alone goes back; nobody said how many steps there are."""
    usual: dict[str, Any] = {
        "framework": "plain", "versions": {"torch": "2.9"}, "goes_back": True, "keeps_position": True, "epochs": 1,
        "batches_per_epoch": 1 << 30, "part_names": (),
    }  # fmt: skip
    return begun(**(usual | options))


@history
def steps_whose_state_goes_back() -> Simulation:
    simulation = by_steps()
    good(simulation, 100, 1.0)
    simulation.checkpoint("a" * 64, epoch=0, extra_batches=100)
    good(simulation, 40, 1.0)
    while simulation.pending is None:
        bad(simulation, 1, cured=False)
    answered(simulation, "applied", "batch 100 of epoch 1")
    good(simulation, 100, 1.0)
    return simulation
