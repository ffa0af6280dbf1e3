"""Runs that differ in what happened to them: each is played in a moment, and what is said of it can be read."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from monitor.core.model import (
    CommandGiven,
    CommandKind,
    GenerationDied,
    GenerationExited,
    IncidentAcknowledged,
    Input,
    RunEnded,
    SupervisorChanged,
    Verdict,
)
from monitor.core.policy.settings import Policy, Rollback, Watch
from monitor.core.policy.table_settings import WhenClean
from tests.harness.simulated_run import RUN
from tests.harness.simulation import ACTING, At, Simulation, supervised
from trainer_hooks.wire.messages import (
    EpochEnded,
    HookTrouble,
    OrderApplied,
    PhaseChanged,
    PlanApplied,
    StacksSeen,
    TrainingEnded,
)
from trainer_hooks.wire.plan import Plan
from trainer_hooks.wire.run_documents import Exit, GenerationOutcome

History = Callable[[], Simulation]
HISTORIES: dict[str, History] = {}
ROLLBACK = Policy(when_clean=WhenClean.ROLLBACK, rollback=Rollback(redo_limit_epochs=9.0), watch=Watch(batches_min=40))
KILLED, FAILED, DONE = (None, 9), (1, None), (0, None)


def history(make: History) -> History:
    """Add it to HISTORIES by the name of the function."""
    HISTORIES[make.__name__] = make
    return make


# --- pieces ---------------------------------------------------------------------------------------------------------


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


# --- healthy --------------------------------------------------------------------------------------------------------


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


# --- bad batches ----------------------------------------------------------------------------------------------------


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


# --- going back -----------------------------------------------------------------------------------------------------


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


# --- ends -----------------------------------------------------------------------------------------------------------


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


# --- people ---------------------------------------------------------------------------------------------------------


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


# --- hangs ----------------------------------------------------------------------------------------------------------


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


# --- other things ---------------------------------------------------------------------------------------------------


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
