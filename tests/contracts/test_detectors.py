"""What every registered detector promises: nothing blinds or latches it, nothing of it grows, it can be put away."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import msgspec
import pytest

from monitor.core.detectors import Moment, load_all, moment_of
from monitor.core.engine import snapshot
from monitor.core.model import GpuSeen, HostSeen, Severity, Verdict, VolumeSeen
from monitor.core.policy.settings import Detectors, Plateau, Policy, Section
from monitor.core.state.run import EpochRow
from monitor.core.state.view import RunView
from tests.harness.simulated_run import START_S
from tests.harness.simulation import Simulation, calm
from trainer_hooks.wire.messages import EpochEnded, NonfiniteSeen, PhaseChanged, SettingChanged

GIB = 1 << 30
CALM = 1500
POLICY = Policy(detectors=Detectors(plateau=Plateau(window_batches=3000)))  # 10,000 would take the tests a minute


def spike(training: Simulation, draw: random.Random) -> None:
    for _ in range(60):
        training.batch(20.0 * math.exp(0.1 * draw.gauss(0, 1)), 3.0)


def explosion(training: Simulation, draw: random.Random) -> None:
    for _ in range(60):
        training.batch(2.0, 3000.0 * math.exp(0.1 * draw.gauss(0, 1)))


def vanishing(training: Simulation, draw: random.Random) -> None:
    for _ in range(40):
        training.batch(2.0, 1e-5 * math.exp(0.1 * draw.gauss(0, 1)))


def rise(training: Simulation, draw: random.Random) -> None:
    for at in range(1200):
        training.batch(2.0 * 3.0 ** (at / 1200) * math.exp(0.1 * draw.gauss(0, 1)), 3.0)


def nothing_left(training: Simulation, draw: random.Random) -> None:
    for _ in range(40):
        training.batch(1e-5 * math.exp(0.1 * draw.gauss(0, 1)), 1e-4)


def never_learns(training: Simulation, draw: random.Random) -> None:
    calm(training, 3000, draw)


def scale_falls(training: Simulation, draw: random.Random) -> None:
    calm(training, 300, draw, scale=65536.0)
    for at in range(6):
        training.batch(2.0, 3.0, scale=65536.0 / 2**at, overflow=True)


def one_part(training: Simulation, draw: random.Random) -> None:
    training.batch(math.nan, 3.0 * math.exp(draw.gauss(0, 0.1)), parts=(1.0, math.nan))


def many_bad(training: Simulation, draw: random.Random) -> None:
    for _ in range(8):
        training.batch(math.nan, math.nan)
        calm(training, 5, draw)


def slower(training: Simulation, draw: random.Random) -> None:
    calm(training, 200, draw, took_s=0.2)


def waits(training: Simulation, draw: random.Random) -> None:
    calm(training, 200, draw, wait_s=0.08)


def memory_jumps(training: Simulation, draw: random.Random) -> None:
    calm(training, 400, draw, reserved=4 * GIB)
    calm(training, 30, draw, reserved=5 * GIB)


def memory_leaks(training: Simulation, draw: random.Random) -> None:
    for at in range(4000):
        training.batch(2.0 * math.exp(0.1 * draw.gauss(0, 1)), 3.0, allocated=3 * GIB + at * 300_000)


def setting(training: Simulation, draw: random.Random) -> None:
    training.send(SettingChanged(0.0, 1, 1, "weight_decay/all", "0.1", str(draw.random()), ""))


def bad_metric(training: Simulation, draw: random.Random) -> None:
    training.send(EpochEnded(0.0, 9, 1.0, (), {"mAP50": math.nan, "loss": draw.random()}, math.nan))


def too_late(training: Simulation, draw: random.Random) -> None:
    calm(training, 600, draw, took_s=100.0)


def odd_rank(training: Simulation, draw: random.Random) -> None:
    for _ in range(400):
        for rank, factor in enumerate((1.0, 1.0, 1.0, 2.5)):
            training.batch(2.0 * factor * math.exp(0.1 * draw.gauss(0, 1)), 3.0, rank=rank)


def silence(training: Simulation, draw: random.Random) -> None:
    training.send(PhaseChanged(0.0, 1, "train"))
    calm(training, 5, draw)
    for _ in range(40):
        training.tick(2.0)


def slower_by_a_tenth(training: Simulation, draw: random.Random) -> None:
    calm(training, 800, draw, took_s=0.12)


def fragmented(training: Simulation, draw: random.Random) -> None:
    training.hardware(gpus=(GpuSeen(0, memory_total=10 * GIB),))
    calm(training, 700, draw, reserved=9 * GIB, memory_peak=5 * GIB)


def retries(training: Simulation, draw: random.Random) -> None:
    for at in range(8):
        calm(training, 5, draw, reserved=4 * GIB, alloc_retries=at)


def host_short(training: Simulation, draw: random.Random) -> None:
    training.hardware(host=HostSeen(1 * GIB, 64 * GIB, 60 * GIB))


def disk_fills(training: Simulation, draw: random.Random) -> None:
    training.hardware(volumes=(VolumeSeen("run folder", 1_000_000, 100 * GIB),))


def poisoned_checkpoints(training: Simulation, draw: random.Random) -> None:
    for _ in range(2):
        training.checkpoint(str(draw.random()), Verdict.POISONED)
        calm(training, 50, draw)


def never_saved_again(training: Simulation, draw: random.Random) -> None:
    for _ in range(3):
        training.checkpoint(str(draw.random()))
        calm(training, 200, draw)
    calm(training, 8000, draw)


def overfits(training: Simulation, draw: random.Random) -> None:
    fitness = [0.2, 0.3, 0.4, 0.5, 0.51, 0.45, 0.42, 0.4, 0.38, 0.35, 0.33, 0.3]
    for at, value in enumerate(fitness):
        row = EpochRow(training.generation, 100 + at, 1000, 0.0, status="ended", loss_sum=2.0 - at / 20, loss_count=1)
        training.run.epochs.append(row)
        training.send(EpochEnded(0.0, 100 + at, 1.0, (), {}, value))


def frozen(training: Simulation, draw: random.Random) -> None:
    for _ in range(8):
        calm(training, 100, draw)
        training.batch(2.0, 3.0, update_ratio=1e-12)


def xid(training: Simulation, draw: random.Random) -> None:
    known = training.run.hardware.gpus.get(0)
    times = dict(known.last.xids).get(79, 0) if known else 0
    for more in (0, 1):
        training.hardware(gpus=(GpuSeen(0, xids=((79, times + more),)),))


def throttled(training: Simulation, draw: random.Random) -> None:
    for _ in range(20):
        training.hardware(gpus=(GpuSeen(0, throttle_bits=0x40, temperature_celsius=88),))
    for _ in range(40):
        training.hardware(gpus=(GpuSeen(0, throttle_bits=0x4, temperature_celsius=70),))


def bad_layer(training: Simulation, draw: random.Random) -> None:
    training.send(NonfiniteSeen(0.0, 1, 1, 8, math.nan, (), None, True, (), False, "model.0.bn.running_var"))


FAULTS: dict[str, Callable[[Simulation, random.Random], None]] = {
    "loss_spike": spike,
    "gradient_explosion": explosion,
    "gradient_vanishing": vanishing,
    "divergence": rise,
    "collapse": nothing_left,
    "plateau": never_learns,
    "loss_scale": scale_falls,
    "nonfinite_component": one_part,
    "nonfinite_burst": many_bad,
    "nonfinite_rate": many_bad,
    "step_time": slower,
    "data_wait": waits,
    "memory_step": memory_jumps,
    "memory_leak": memory_leaks,
    "settings_unexplained": setting,
    "validation": bad_metric,
    "deadline": too_late,
    "rank_outlier": odd_rank,
    "hang": silence,
    "throughput": slower_by_a_tenth,
    "gpu_fragmentation": fragmented,
    "alloc_retries": retries,
    "host_memory": host_short,
    "disk_space": disk_fills,
    "checkpoint_verdict": poisoned_checkpoints,
    "checkpoint_age": never_saved_again,
    "checkpoint_retention": poisoned_checkpoints,
    "overfitting": overfits,
    "update_ratio": frozen,
    "gpu_errors": xid,
    "gpu_throttling": throttled,
    "nonfinite_layer": bad_layer,
}
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
    assert set(FAULTS) | {"poisoned_state", "nonfinite_batch"} == set(load_all())  # which look at one batch only


@pytest.mark.parametrize("name", NAMES)
def test_it_is_silent_on_a_healthy_training_and_finds_its_fault(name: str) -> None:
    training = training_for(name)
    assert name == "deadline" or not training.found
    FAULTS[name](training, random.Random(3))
    assert times(training, name) >= 1


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
    training, draw = Simulation(), random.Random(1)
    sizes = []
    for _ in range(3):
        for name in NAMES:
            FAULTS[name](training, draw)
        sizes.append(len(msgspec.msgpack.encode(training.run.ranks[0].learned)))
    assert sizes[-1] < 6500  # bytes
    assert sizes[-1] < 1.2 * sizes[0]


@pytest.mark.parametrize("name", NAMES)
def test_one_that_raises_is_switched_off_and_said_so_once(name: str) -> None:
    def broken(view: RunView, config: Section) -> None:
        raise ZeroDivisionError(f"at {view.at.count} with {config}")

    training = Simulation(policy=POLICY, detectors={**load_all(), name: broken})
    calm(training, 10, random.Random(1))
    FAULTS[name](training, random.Random(3))
    assert training.run.switched_off == [name]
    assert sum("switched off" in line for line in training.messages) == 1
    assert training.run.totals.defects == 0


@pytest.mark.parametrize("name", NAMES)
def test_one_that_is_not_enabled_is_never_asked(name: str) -> None:
    off = {"plateau": {"window_batches": 3000}, name: {"enabled": False}}
    training = Simulation(policy=Policy(detectors=Detectors.model_validate(off)), deadline_s=START_S + 60.0)
    calm(training, 600, random.Random(1))
    FAULTS[name](training, random.Random(3))
    assert times(training, name) == 0


def test_each_is_asked_at_one_moment_and_only_non_finite_values_and_a_lasting_spike_are_critical_by_default() -> None:
    assert {moment_of(name) for name in load_all()} == set(Moment)
    training, draw = Simulation(), random.Random(1)
    for name in sorted(set(NAMES) - {"nonfinite_burst", "nonfinite_rate"}):
        calm(training, 1200, draw)
        FAULTS[name](training, draw)
    critical = {key for key in training.found if key.endswith(str(Severity.CRITICAL))}
    assert critical == {"loss_spike/critical"}
