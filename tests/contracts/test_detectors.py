"""What every registered detector promises: nothing blinds or latches it, nothing of it grows, it can be put away."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest

from monitor.core.detectors import DetectorConfig, Moment, load_all
from monitor.core.detectors.plateau import PlateauConfig
from monitor.core.engine import snapshot
from monitor.core.model import Severity
from monitor.core.policy.settings import Detectors, Policy
from monitor.core.state.learned import NonfiniteWindow
from monitor.core.state.stats import NONFINITE_WINDOW_MAX
from monitor.core.state.view import RunView
from tests.contracts.detector_faults import every_fault
from tests.harness.simulated_run import START_S
from tests.harness.simulation import Simulation, calm

CALM = 1500
POLICY = Policy(detectors=Detectors(plateau=PlateauConfig(window_batches=3000)))  # 10,000 would take a minute
FAULTS = every_fault()
DETECTORS = load_all()
LEVELS = list(Severity)
NAMES = sorted(FAULTS)


def training_for(name: str) -> Simulation:
    training = Simulation(policy=POLICY, deadline_s=START_S + 3600.0 if name == "deadline" else None)
    calm(training, CALM, random.Random(1))
    return training


def times(training: Simulation, name: str) -> int:
    return sum(n for key, n in training.found.items() if key.startswith(f"{name}/"))


def nan(training: Simulation) -> None:
    training.batch(math.nan, math.nan, took_s=0.1)


def infinity(training: Simulation) -> None:
    training.batch(math.inf, -math.inf, took_s=0.1)


def gap(training: Simulation) -> None:
    training.batch(2.0, 3.0, missed=500)


def restart_of_the_daemon(training: Simulation) -> None:
    training.reload()


def restart_of_the_training(training: Simulation) -> None:
    training.restart()
    calm(training, CALM, random.Random(2))


DISTURBANCES = [nan, infinity, gap, restart_of_the_daemon, restart_of_the_training]


def test_every_registered_detector_but_two_is_held_to_this_contract() -> None:
    assert set(FAULTS) | {"poisoned_state", "nonfinite_batch"} == set(DETECTORS)  # which look at one batch only


@pytest.mark.parametrize("name", NAMES)
def test_it_is_silent_on_a_healthy_training_and_finds_its_fault(name: str) -> None:
    training = training_for(name)
    assert name == "deadline" or not training.found
    FAULTS[name](training, random.Random(3))
    assert times(training, name) >= 1


@pytest.mark.parametrize("name", NAMES)
def test_it_is_never_more_severe_than_it_is_registered(name: str) -> None:
    """The documentation and the policy file state that severity; `act` and every other switch is on here."""
    settings = {name: {"act": True}} if "act" in DETECTORS[name].config.model_fields else {}
    policy = Policy(detectors=Detectors.model_validate({"plateau": {"window_batches": 3000}} | settings))
    training = Simulation(policy=policy, deadline_s=START_S + 3600.0 if name == "deadline" else None)
    calm(training, CALM, random.Random(1))
    FAULTS[name](training, random.Random(3))
    found = {Severity(key.partition("/")[2]) for key in training.found if key.startswith(f"{name}/")}
    assert found
    assert all(LEVELS.index(severity) <= LEVELS.index(DETECTORS[name].at_most) for severity in found)


@pytest.mark.parametrize("disturb", DISTURBANCES)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_blinds_it(name: str, disturb: Callable[[Simulation], None]) -> None:
    training = training_for(name)
    disturb(training)
    before = times(training, name)
    calm(training, 400, random.Random(4))
    assert name in ("deadline", "nonfinite_burst", "nonfinite_rate") or times(training, name) == before
    FAULTS[name](training, random.Random(3))
    assert times(training, name) > before or name == "deadline"


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"plateau", "deadline"}))  # which stay true as long as they are
def test_it_does_not_latch(name: str) -> None:
    """After its fault is over, the training is healthy again: it says nothing more, though the level may be another."""
    training = training_for(name)
    FAULTS[name](training, random.Random(3))
    calm(training, 3000, random.Random(5))
    before = times(training, name)
    calm(training, 3000, random.Random(6))
    assert times(training, name) == before


@pytest.mark.parametrize("name", NAMES)
def test_a_state_that_is_saved_and_read_goes_on_exactly_as_before(name: str) -> None:
    alive, read = training_for(name), training_for(name)
    FAULTS[name](alive, random.Random(3))
    FAULTS[name](read, random.Random(3))
    read.reload()
    for training in (alive, read):
        calm(training, 100, random.Random(7))
    assert snapshot(read.core) == snapshot(alive.core)


def test_what_is_learnt_does_not_grow() -> None:
    """Bad batches alone are remembered for as long as a rule may look back, and up to a limit: see tests/bounds."""
    training, draw = Simulation(), random.Random(1)
    sizes = []
    for _ in range(3):
        for name in NAMES:
            FAULTS[name](training, draw)
        learned = training.run.training.ranks[0].learned
        rest = msgspec.structs.replace(learned, nonfinite=NonfiniteWindow())
        sizes.append(len(msgspec.msgpack.encode(rest)))
    assert sizes[-1] < 7000  # bytes
    assert sizes[-1] < 1.2 * sizes[0]
    training.batch(math.nan, 3.0, missed=NONFINITE_WINDOW_MAX)
    assert len(learned.nonfinite.counts) == len(learned.nonfinite.positions) == 1


@pytest.mark.parametrize("name", NAMES)
def test_one_that_raises_is_switched_off_and_said_so_once(name: str) -> None:
    def broken(view: RunView, config: DetectorConfig) -> None:
        raise ZeroDivisionError(f"at {view.at.count} with {config}")

    training = Simulation(policy=POLICY, detectors={**DETECTORS, name: replace(DETECTORS[name], detector=broken)})
    calm(training, 10, random.Random(1))
    FAULTS[name](training, random.Random(3))
    assert training.run.switched_off == [name]
    assert sum("switched off" in line for line in training.messages) == 1
    assert training.run.ledger.defects == 0


@pytest.mark.parametrize("name", NAMES)
def test_one_that_is_not_enabled_is_never_asked(name: str) -> None:
    off = {"plateau": {"window_batches": 3000}, name: {"enabled": False}}
    training = Simulation(policy=Policy(detectors=Detectors.model_validate(off)), deadline_s=START_S + 60.0)
    calm(training, 600, random.Random(1))
    FAULTS[name](training, random.Random(3))
    assert times(training, name) == 0


def test_each_is_asked_at_one_moment_and_only_what_is_lost_is_critical_by_default() -> None:
    assert {one.moment for one in DETECTORS.values()} == set(Moment)
    critical, draw = set[str](), random.Random(1)
    for name in sorted(set(NAMES) - {"nonfinite_burst", "nonfinite_rate"}):
        training = Simulation()
        calm(training, 1200, draw)
        FAULTS[name](training, draw)
        critical |= {key for key in training.found if key.endswith(str(Severity.CRITICAL))}
    found = {"checkpoint_verdict/critical", "loss_spike/critical", "overflows/critical", "setting_damage/critical"}
    assert critical == found
