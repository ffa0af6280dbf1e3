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
from monitor.core.engine import restored, snapshot
from monitor.core.model import Severity
from monitor.core.policy.settings import Detectors, Policy
from monitor.core.state.view import RunView
from tests.contracts.detector_faults import every_fault
from tests.harness.streams import START_S, Stream, calm

CALM = 1500
POLICY = Policy(detectors=Detectors(plateau=PlateauConfig(window_batches=3000)))  # 10,000 would take a minute
FAULTS = every_fault()
DETECTORS = load_all()
LEVELS = list(Severity)
NAMES = sorted(FAULTS)


def stream_for(name: str) -> Stream:
    stream = Stream(policy=POLICY, deadline_s=START_S + 3600.0 if name == "deadline" else None)
    calm(stream, CALM, random.Random(1))
    return stream


def times(stream: Stream, name: str) -> int:
    return sum(n for key, n in stream.found.items() if key.startswith(f"{name}/"))


def nan(stream: Stream) -> None:
    stream.batch(math.nan, math.nan, took_s=0.1)


def infinity(stream: Stream) -> None:
    stream.batch(math.inf, -math.inf, took_s=0.1)


def gap(stream: Stream) -> None:
    stream.batch(2.0, 3.0, missed=500)


def restart_of_the_daemon(stream: Stream) -> None:
    stream.reload()


def restart_of_the_training(stream: Stream) -> None:
    stream.restart()
    calm(stream, CALM, random.Random(2))


DISTURBANCES = [nan, infinity, gap, restart_of_the_daemon, restart_of_the_training]


def test_every_registered_detector_but_two_is_held_to_this_contract() -> None:
    assert set(FAULTS) | {"poisoned_state", "nonfinite_batch"} == set(DETECTORS)  # which look at one batch only


@pytest.mark.parametrize("name", NAMES)
def test_it_is_silent_on_a_healthy_training_and_finds_its_fault(name: str) -> None:
    stream = stream_for(name)
    assert name == "deadline" or not stream.found
    FAULTS[name](stream, random.Random(3))
    assert times(stream, name) >= 1


@pytest.mark.parametrize("name", NAMES)
def test_it_is_never_more_severe_than_it_is_registered(name: str) -> None:
    """The documentation and the policy file state that severity; `act` and every other switch is on here."""
    settings = {name: {"act": True}} if "act" in DETECTORS[name].config.model_fields else {}
    policy = Policy(detectors=Detectors.model_validate({"plateau": {"window_batches": 3000}} | settings))
    stream = Stream(policy=policy, deadline_s=START_S + 3600.0 if name == "deadline" else None)
    calm(stream, CALM, random.Random(1))
    FAULTS[name](stream, random.Random(3))
    found = {Severity(key.partition("/")[2]) for key in stream.found if key.startswith(f"{name}/")}
    assert found
    assert all(LEVELS.index(severity) <= LEVELS.index(DETECTORS[name].at_most) for severity in found)


@pytest.mark.parametrize("disturb", DISTURBANCES)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_blinds_it(name: str, disturb: Callable[[Stream], None]) -> None:
    stream = stream_for(name)
    disturb(stream)
    before = times(stream, name)
    calm(stream, 400, random.Random(4))
    assert name in ("deadline", "nonfinite_burst", "nonfinite_rate") or times(stream, name) == before
    FAULTS[name](stream, random.Random(3))
    assert times(stream, name) > before or name == "deadline"


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"plateau", "deadline"}))  # which stay true as long as they are
def test_it_does_not_latch(name: str) -> None:
    """After its fault is over, the training is healthy again: it says nothing more, though the level may be another."""
    stream = stream_for(name)
    FAULTS[name](stream, random.Random(3))
    calm(stream, 3000, random.Random(5))
    before = times(stream, name)
    calm(stream, 3000, random.Random(6))
    assert times(stream, name) == before


@pytest.mark.parametrize("name", NAMES)
def test_a_state_that_is_saved_and_read_goes_on_exactly_as_before(name: str) -> None:
    alive, read = stream_for(name), stream_for(name)
    FAULTS[name](alive, random.Random(3))
    FAULTS[name](read, random.Random(3))
    read.core = restored(snapshot(read.core))
    for stream in (alive, read):
        calm(stream, 100, random.Random(7))
    assert snapshot(read.core) == snapshot(alive.core)


def test_what_is_learnt_does_not_grow() -> None:
    stream, draw = Stream(), random.Random(1)
    sizes = []
    for _ in range(3):
        for name in NAMES:
            FAULTS[name](stream, draw)
        sizes.append(len(msgspec.msgpack.encode(stream.run.ranks[0].learned)))
    assert sizes[-1] < 6500  # bytes
    assert sizes[-1] < 1.2 * sizes[0]


@pytest.mark.parametrize("name", NAMES)
def test_one_that_raises_is_switched_off_and_said_so_once(name: str) -> None:
    def broken(view: RunView, config: DetectorConfig) -> None:
        raise ZeroDivisionError(f"at {view.at.count} with {config}")

    stream = Stream(policy=POLICY, detectors={**DETECTORS, name: replace(DETECTORS[name], detector=broken)})
    calm(stream, 10, random.Random(1))
    FAULTS[name](stream, random.Random(3))
    assert stream.run.switched_off == [name]
    assert sum("switched off" in line for line in stream.said) == 1
    assert stream.run.totals.defects == 0


@pytest.mark.parametrize("name", NAMES)
def test_one_that_is_not_enabled_is_never_asked(name: str) -> None:
    off = {"plateau": {"window_batches": 3000}, name: {"enabled": False}}
    stream = Stream(policy=Policy(detectors=Detectors.model_validate(off)), deadline_s=START_S + 60.0)
    calm(stream, 600, random.Random(1))
    FAULTS[name](stream, random.Random(3))
    assert times(stream, name) == 0


def test_each_is_asked_at_one_moment_and_only_non_finite_values_and_a_lasting_spike_are_critical_by_default() -> None:
    assert {one.moment for one in DETECTORS.values()} == set(Moment)
    stream, draw = Stream(), random.Random(1)
    for name in sorted(set(NAMES) - {"nonfinite_burst", "nonfinite_rate"}):
        calm(stream, 1200, draw)
        FAULTS[name](stream, draw)
    critical = {key for key in stream.found if key.endswith(str(Severity.CRITICAL))}
    assert critical == {"loss_spike/critical"}
