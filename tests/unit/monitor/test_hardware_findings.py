"""What the core makes of readings: host memory, volumes, errors and heat of GPUs; and what it makes nothing of."""

from __future__ import annotations

import random

import msgspec
import pytest

from monitor.core.engine import restored, snapshot
from monitor.core.model import GpuSeen, HostSeen, Severity, VolumeSeen
from tests.harness.simulation import Simulation, calm
from trainer_hooks.wire.messages import EpochEnded

GIB = 1 << 30
WELL = GpuSeen(0, memory_total=80 * GIB, temperature_celsius=64, slowdown_celsius=90, power_limit_milliwatts=700_000,
               throttle_bits=0x4, ecc_uncorrected=3, rows_uncorrectable=1)  # fmt: skip


def started() -> Simulation:
    training = Simulation(epochs=1000)
    calm(training, 100, random.Random(1))
    return training


def host(rss: float, available: float = 40.0) -> HostSeen:
    """In GiB, of a host with 64."""
    return HostSeen(int(available * GIB), 64 * GIB, int(rss * GIB))


def test_a_host_that_runs_short_of_memory_is_a_warning_with_what_the_training_holds() -> None:
    training = started()
    for available in (30.0, 10.0, 3.5):
        training.hardware(host=host(20.0, available))
    assert not training.found
    training.hardware(host=host(55.0, 2.0))
    (finding,) = training.findings("host_memory")
    assert finding.severity is Severity.WARNING
    assert finding.summary.endswith("2 GiB of 64 are left; the training's processes hold 55 GiB")


def test_a_leak_that_fills_the_host_before_the_training_ends_is_a_warning_and_a_slower_one_a_note() -> None:
    for gib_an_hour, severity in ((8.0, Severity.WARNING), (1.5, Severity.INFO)):
        training, draw = Simulation(epochs=200), random.Random(1)  # 14 hours, by the pace of the first hundred batches
        calm(training, 100, draw)
        training.hardware(host=host(10.0))
        training.send(EpochEnded(training.now_s, 1, 1.0, (), {}, None))
        for at in range(240):
            rss = 10.0 + gib_an_hour * at * 15 / 3600 + 0.02 * draw.random()
            training.hardware(host=host(rss, 50.0 - rss))
        (finding,) = training.findings("host_memory")
        assert finding.severity is severity
        assert "the training's end" in finding.summary


@pytest.mark.parametrize("pattern", ["caches that fill", "workers that come and go", "noise"])
def test_memory_of_a_healthy_training_is_silent(pattern: str) -> None:
    training, draw = started(), random.Random(1)
    for at in range(960):
        rss = {
            "caches that fill": 10.0 + min(at / 60, 4.0),
            "workers that come and go": 10.0 + (3.0 if at % 80 < 6 else 0.0),
            "noise": 10.0 + 0.3 * draw.random(),
        }[pattern]
        training.hardware(host=host(rss))
    assert not training.found


def test_a_step_is_a_note_and_the_first_validation_none() -> None:
    training = started()
    for _ in range(80):
        training.hardware(host=host(10.0))
    training.send(EpochEnded(training.now_s, 1, 1.0, (), {}, None))
    for _ in range(80):
        training.hardware(host=host(18.0))
    assert not training.found
    for _ in range(8):
        training.hardware(host=host(30.0))
    assert training.found == {"host_memory/info": 1}
    assert "went from 18 to 30 GiB" in training.findings("host_memory")[0].summary


def volume(free: float, name: str = "save_dir") -> VolumeSeen:
    return VolumeSeen(name, int(free * GIB), 500 * GIB)


def test_a_volume_without_room_for_three_checkpoints_is_a_warning() -> None:
    training = started()
    training.checkpoint("a", size=2 * GIB)
    training.hardware(volumes=(volume(7.0), volume(100.0, "run folder")))
    assert not training.found
    training.hardware(volumes=(volume(5.0), volume(100.0, "run folder")))
    (finding,) = training.findings("disk_space")
    assert finding.summary.startswith("the volume of the save_dir is about to fill: 5120 MiB are free")


def test_a_nearly_full_volume_with_room_for_small_checkpoints_is_silent() -> None:
    training = started()
    training.checkpoint("a", size=6_000_000)
    for _ in range(100):
        training.hardware(volumes=(volume(0.1),))
    assert not training.found


def test_a_volume_that_fills_within_the_hour_is_a_warning_and_one_that_comes_and_goes_is_none() -> None:
    training, draw = started(), random.Random(1)
    for at in range(200):
        training.hardware(volumes=(volume(20.0 - 5.0 * (at % 8) / 8 + 0.1 * draw.random()),))
    assert not training.found
    filling = started()
    for at in range(80):
        filling.hardware(volumes=(volume(20.0 - 0.15 * at + 0.1 * draw.random()),))
    assert "at the present pace none in" in filling.findings("disk_space")[0].summary


@pytest.mark.parametrize(
    ("change", "severity", "sentence"),
    [
        ({"xids": ((48, 1),)}, Severity.WARNING, "GPU 0: XID 48 (a double-bit ECC error)"),
        ({"xids": ((31, 1),)}, Severity.INFO, "which a program's own fault can cause"),
        ({"xids": ((31, 1), (79, 1))}, Severity.WARNING, "XID 79"),
        ({"ecc_uncorrected": 5}, Severity.WARNING, "2 more uncorrectable ECC errors (in all 5)"),
        ({"rows_uncorrectable": 2}, Severity.WARNING, "1 more row remapped"),
        ({"rows_failed": True}, Severity.WARNING, "replace the device"),
        ({"trouble": "GPU is lost"}, Severity.WARNING, "the driver says 'GPU is lost'"),
    ],
)
def test_an_error_of_a_device_is_told_as_it_comes(change: dict[str, object], severity: Severity, sentence: str) -> None:
    training = started()
    training.hardware(gpus=(WELL,))
    assert not training.found
    for _ in range(3):
        training.hardware(gpus=(msgspec.structs.replace(WELL, **change),))
    (finding,) = training.findings("gpu_errors")
    assert finding.severity is severity
    assert sentence in finding.summary


def test_errors_of_before_the_run_are_no_news_and_neither_is_a_restart_of_the_daemon() -> None:
    training = started()
    old = msgspec.structs.replace(WELL, xids=((79, 4),), rows_failed=True)
    for gpu in (old, old, msgspec.structs.replace(old, xids=())):  # a new daemon counts from nothing
        training.hardware(gpus=(gpu,))
        training.reload()
    assert not training.found
    training.hardware(gpus=(old,))
    assert training.found == {"gpu_errors/warning": 1}


def test_a_device_that_is_gone_is_told_once_and_nvml_that_can_not_be_read_takes_none_away() -> None:
    training = started()
    second = msgspec.structs.replace(WELL, index=1)
    training.hardware(gpus=(WELL, second))
    training.hardware(nvml="NVML did not answer for 15 s")
    assert training.found == {"gpu_errors/info": 1}
    for _ in range(3):
        training.hardware(gpus=(WELL,))
    assert [f.summary for f in training.findings("gpu_errors")][1:] == ["GPU 1: the driver does not list it any more"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"throttle_bits": 0x40, "temperature_celsius": 89}, "slowing itself down for minutes at 89 degrees"),
        ({"throttle_bits": 0x80}, "power brake"),
        ({"temperature_celsius": 89}, "too hot for minutes at 89 degrees"),
        ({"temperature_celsius": 91, "slowdown_celsius": None}, "too hot for minutes"),
    ],
)
def test_heat_and_throttling_are_a_warning_after_two_minutes(change: dict[str, int], sentence: str) -> None:
    training = started()
    training.hardware(gpus=(WELL,))
    for _ in range(6):
        training.hardware(gpus=(msgspec.structs.replace(WELL, **change),))
    assert not training.found
    for _ in range(6):
        training.hardware(gpus=(msgspec.structs.replace(WELL, **change),))
    (finding,) = training.findings("gpu_throttling")
    assert (finding.severity, sentence in finding.summary) == (Severity.WARNING, True)


def test_the_power_cap_of_full_load_and_single_hot_readings_are_silent() -> None:
    training = started()
    for at in range(400):
        hot = at % 10 == 0
        gpu = msgspec.structs.replace(WELL, throttle_bits=0x4 | (0x20 if hot else 0), temperature_celsius=70 + 20 * hot)
        training.hardware(gpus=(gpu,))
    assert not training.found


def test_a_power_limit_that_was_lowered_is_a_note() -> None:
    training = started()
    training.hardware(gpus=(WELL,))
    training.hardware(gpus=(msgspec.structs.replace(WELL, power_limit_milliwatts=400_000),))
    assert training.found == {"gpu_throttling/info": 1}
    assert training.messages[-1].endswith("GPU 0: its power limit was lowered from 700 to 400 W")


def test_readings_do_not_pass_for_batches_where_a_training_hangs() -> None:
    training = started()
    for _ in range(60):
        training.hardware(1.0, host=host(10.0))
        training.tick(1.0)
    assert training.found == {"hang/warning": 1}


def test_what_is_kept_of_readings_is_bounded_and_survives_a_restart_exactly() -> None:
    training, draw = started(), random.Random(1)
    sizes = []
    for _ in range(3):
        for _ in range(300):
            gpus = tuple(
                msgspec.structs.replace(WELL, index=i, temperature_celsius=draw.randrange(50, 80)) for i in range(8)
            )
            training.hardware(host=host(10.0 + draw.random()), volumes=(volume(20.0), volume(30.0, "b")), gpus=gpus)
        sizes.append(len(msgspec.msgpack.encode(training.run.hardware)))
    assert sizes[-1] < 8000
    assert sizes[-1] < 1.05 * sizes[0]
    assert snapshot(restored(snapshot(training.core))) == snapshot(training.core)
