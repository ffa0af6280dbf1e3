"""What every registered detector promises: nothing blinds or latches it, nothing of it grows, it can be put away."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import msgspec
import pytest

from monitor.core.detectors import Moment, load_all, moment_of
from monitor.core.engine import restored, snapshot
from monitor.core.model import GpuSeen, HostSeen, Severity, Verdict, VolumeSeen
from monitor.core.policy.settings import Detectors, Plateau, Policy, Section
from monitor.core.state.run import EpochRow
from monitor.core.state.view import RunView
from tests.harness.streams import START_S, Stream, calm
from trainer_hooks.wire.messages import EpochEnded, NonfiniteSeen, PhaseChanged, SettingChanged

GIB = 1 << 30
CALM = 1500
POLICY = Policy(detectors=Detectors(plateau=Plateau(window_batches=3000)))  # 10,000 would take the tests a minute


def spike(stream: Stream, draw: random.Random) -> None:
    for _ in range(60):
        stream.batch(20.0 * math.exp(0.1 * draw.gauss(0, 1)), 3.0)


def explosion(stream: Stream, draw: random.Random) -> None:
    for _ in range(60):
        stream.batch(2.0, 3000.0 * math.exp(0.1 * draw.gauss(0, 1)))


def vanishing(stream: Stream, draw: random.Random) -> None:
    for _ in range(40):
        stream.batch(2.0, 1e-5 * math.exp(0.1 * draw.gauss(0, 1)))


def rise(stream: Stream, draw: random.Random) -> None:
    for at in range(1200):
        stream.batch(2.0 * 3.0 ** (at / 1200) * math.exp(0.1 * draw.gauss(0, 1)), 3.0)


def nothing_left(stream: Stream, draw: random.Random) -> None:
    for _ in range(40):
        stream.batch(1e-5 * math.exp(0.1 * draw.gauss(0, 1)), 1e-4)


def never_learns(stream: Stream, draw: random.Random) -> None:
    calm(stream, 3000, draw)


def scale_falls(stream: Stream, draw: random.Random) -> None:
    calm(stream, 300, draw, scale=65536.0)
    for at in range(6):
        stream.batch(2.0, 3.0, scale=65536.0 / 2**at, overflow=True)


def one_part(stream: Stream, draw: random.Random) -> None:
    stream.batch(math.nan, 3.0 * math.exp(draw.gauss(0, 0.1)), parts=(1.0, math.nan))


def many_bad(stream: Stream, draw: random.Random) -> None:
    for _ in range(8):
        stream.batch(math.nan, math.nan)
        calm(stream, 5, draw)


def slower(stream: Stream, draw: random.Random) -> None:
    calm(stream, 200, draw, took_s=0.2)


def waits(stream: Stream, draw: random.Random) -> None:
    calm(stream, 200, draw, wait_s=0.08)


def memory_jumps(stream: Stream, draw: random.Random) -> None:
    calm(stream, 400, draw, reserved=4 * GIB)
    calm(stream, 30, draw, reserved=5 * GIB)


def memory_leaks(stream: Stream, draw: random.Random) -> None:
    for at in range(4000):
        stream.batch(2.0 * math.exp(0.1 * draw.gauss(0, 1)), 3.0, allocated=3 * GIB + at * 300_000)


def setting(stream: Stream, draw: random.Random) -> None:
    stream.event(SettingChanged(0.0, 1, 1, "weight_decay/all", "0.1", str(draw.random()), ""))


def bad_metric(stream: Stream, draw: random.Random) -> None:
    stream.event(EpochEnded(0.0, 9, 1.0, (), {"mAP50": math.nan, "loss": draw.random()}, math.nan))


def too_late(stream: Stream, draw: random.Random) -> None:
    calm(stream, 600, draw, took_s=100.0)


def odd_rank(stream: Stream, draw: random.Random) -> None:
    for _ in range(400):
        for rank, factor in enumerate((1.0, 1.0, 1.0, 2.5)):
            stream.batch(2.0 * factor * math.exp(0.1 * draw.gauss(0, 1)), 3.0, rank=rank)


def silence(stream: Stream, draw: random.Random) -> None:
    stream.event(PhaseChanged(0.0, 1, "train"))
    calm(stream, 5, draw)
    for _ in range(40):
        stream.tick(2.0)


def slower_by_a_tenth(stream: Stream, draw: random.Random) -> None:
    calm(stream, 800, draw, took_s=0.12)


def fragmented(stream: Stream, draw: random.Random) -> None:
    stream.hardware(gpus=(GpuSeen(0, memory_total=10 * GIB),))
    calm(stream, 700, draw, reserved=9 * GIB, memory_peak=5 * GIB)


def retries(stream: Stream, draw: random.Random) -> None:
    for at in range(8):
        calm(stream, 5, draw, reserved=4 * GIB, alloc_retries=at)


def host_short(stream: Stream, draw: random.Random) -> None:
    stream.hardware(host=HostSeen(1 * GIB, 64 * GIB, 60 * GIB))


def disk_fills(stream: Stream, draw: random.Random) -> None:
    stream.hardware(volumes=(VolumeSeen("run folder", 1_000_000, 100 * GIB),))


def poisoned_checkpoints(stream: Stream, draw: random.Random) -> None:
    for _ in range(2):
        stream.checkpoint(str(draw.random()), Verdict.POISONED)
        calm(stream, 50, draw)


def never_saved_again(stream: Stream, draw: random.Random) -> None:
    for _ in range(3):
        stream.checkpoint(str(draw.random()))
        calm(stream, 200, draw)
    calm(stream, 8000, draw)


def overfits(stream: Stream, draw: random.Random) -> None:
    fitness = [0.2, 0.3, 0.4, 0.5, 0.51, 0.45, 0.42, 0.4, 0.38, 0.35, 0.33, 0.3]
    for at, value in enumerate(fitness):
        row = EpochRow(stream.generation, 100 + at, 1000, 0.0, status="ended", loss_sum=2.0 - at / 20, loss_count=1)
        stream.run.epochs.append(row)
        stream.event(EpochEnded(0.0, 100 + at, 1.0, (), {}, value))


def frozen(stream: Stream, draw: random.Random) -> None:
    for _ in range(8):
        calm(stream, 100, draw)
        stream.batch(2.0, 3.0, update_ratio=1e-12)


def xid(stream: Stream, draw: random.Random) -> None:
    known = stream.run.hardware.gpus.get(0)
    times = dict(known.last.xids).get(79, 0) if known else 0
    for more in (0, 1):
        stream.hardware(gpus=(GpuSeen(0, xids=((79, times + more),)),))


def throttled(stream: Stream, draw: random.Random) -> None:
    for _ in range(20):
        stream.hardware(gpus=(GpuSeen(0, throttle_bits=0x40, temperature_celsius=88),))
    for _ in range(40):
        stream.hardware(gpus=(GpuSeen(0, throttle_bits=0x4, temperature_celsius=70),))


def bad_layer(stream: Stream, draw: random.Random) -> None:
    stream.event(NonfiniteSeen(0.0, 1, 1, 8, math.nan, (), None, True, (), False, "model.0.bn.running_var"))


FAULTS: dict[str, Callable[[Stream, random.Random], None]] = {
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
    assert set(FAULTS) | {"poisoned_state", "nonfinite_batch"} == set(load_all())  # which look at one batch only


@pytest.mark.parametrize("name", NAMES)
def test_it_is_silent_on_a_healthy_training_and_finds_its_fault(name: str) -> None:
    stream = stream_for(name)
    assert name == "deadline" or not stream.found
    FAULTS[name](stream, random.Random(3))
    assert times(stream, name) >= 1


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
    def broken(view: RunView, config: Section) -> None:
        raise ZeroDivisionError(f"at {view.at.count} with {config}")

    stream = Stream(policy=POLICY, detectors={**load_all(), name: broken})
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
    assert {moment_of(name) for name in load_all()} == set(Moment)
    stream, draw = Stream(), random.Random(1)
    for name in sorted(set(NAMES) - {"nonfinite_burst", "nonfinite_rate"}):
        calm(stream, 1200, draw)
        FAULTS[name](stream, draw)
    critical = {key for key in stream.found if key.endswith(str(Severity.CRITICAL))}
    assert critical == {"loss_spike/critical"}
