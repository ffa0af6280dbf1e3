"""What of a reading is believed, which devices are a run's own, and what is kept of one that is gone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from monitor.core.model import Entry, HostSeen, VolumeSeen
from monitor.core.state.run import Fleet
from monitor.daemon.hardware import host, volumes
from monitor.daemon.hardware.changes import ChangeFilter, seen_of
from monitor.daemon.hardware.gpus import Gpus
from monitor.daemon.hardware.poll import Hardware
from monitor.daemon.hardware.reading import (
    DEVICES_MAX,
    XIDS_KEPT,
    Device,
    Gpu,
    HostMemory,
    RunHardware,
    Visible,
    checked,
    chosen,
)
from monitor.daemon.metrics.exposition import Surroundings, Timings, collect, render
from tests.harness.nvml import gpu_run

WELL = Device(
    index=0, uuid="GPU-aa", name="H", utilization_percent=97, memory_used_bytes=70 * 2**30,
    memory_total_bytes=80 * 2**30, temperature_celsius=64, power_milliwatts=698_000, throttle_bits=0x4,
    ecc_corrected=3, ecc_uncorrected=0, rows_correctable=1, rows_uncorrectable=0,
)  # fmt: skip
PAIR = (WELL, msgspec.structs.replace(WELL, index=1, uuid="GPU-ab"))
UNLIKE = (WELL, msgspec.structs.replace(WELL, index=1, uuid="GPU-ab", name="T4"))


@pytest.mark.parametrize(
    "lie",
    [
        {"utilization_percent": 101}, {"memory_used_bytes": 81 * 2**30}, {"memory_total_bytes": 0},
        {"temperature_celsius": 2**32 - 1}, {"temperature_celsius": -1}, {"power_milliwatts": 2**32 - 1},
        {"ecc_corrected": 2**64 - 1}, {"rows_uncorrectable": 2**32 - 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_value_beyond_what_can_be_is_left_out(lie: dict[str, int]) -> None:
    assert checked(WELL) == (WELL, ())
    device, refused = checked(msgspec.structs.replace(WELL, **lie))
    name = next(iter(lie))
    assert getattr(device, name) is None
    assert refused[0] == f"{name} {lie[name]}"
    assert device.ecc_uncorrected == 0


def test_an_xid_that_is_none_is_refused_and_the_others_are_kept() -> None:
    device, refused = checked(msgspec.structs.replace(WELL, xids=(0, 79, 2**40)))
    assert (device.xids, refused) == ((79,), ("xid 0", f"xid {2**40}"))


@pytest.mark.parametrize(
    ("devices", "visible", "expected"),
    [
        (PAIR, [], {0, 1}),
        (PAIR, [Visible("1")], {1}),
        (PAIR, [Visible("1, 0")], {0, 1}),
        (PAIR, [Visible("")], set()),
        (PAIR, [Visible("-1")], set()),
        (PAIR, [Visible("1,-1,0")], {1}),  # CUDA stops at the first that is not there
        (PAIR, [Visible("7,0")], set()),
        (PAIR, [Visible("GPU-ab")], {1}),
        (PAIR, [Visible("GPU-a")], set()),  # two begin so
        (PAIR, [Visible("MIG-0000")], {0, 1}),
        (PAIR, [Visible("0"), Visible("1")], {0, 1}),  # two processes of the run
        (UNLIKE, [Visible("1")], {0, 1}),  # CUDA's own order, fastest first, can't be known
        (UNLIKE, [Visible("1", "PCI_BUS_ID")], {1}),
        (UNLIKE, [Visible("GPU-ab")], {1}),
    ],
)
def test_the_devices_of_a_run_are_those_that_its_processes_may_use(
    devices: tuple[Device, ...], visible: list[Visible], expected: set[int]
) -> None:
    assert chosen(devices, visible) == expected


def test_a_device_that_is_gone_keeps_its_counts_and_shows_no_value() -> None:
    gpus = Gpus()
    assert gpus.take([msgspec.structs.replace(WELL, xids=(79, 79))]) == [
        "GPU 0: the driver reports XID 79: see NVIDIA's list of XID errors for what to do with the device"
    ]
    assert gpus.take([]) == ["GPU 0 is no longer listed by NVML"]
    (gpu,) = gpus.of(())
    assert (gpu.device, gpu.xids) == (Device(index=0, uuid="GPU-aa", name="H"), {79: 2})


def test_a_device_listed_twice_or_out_of_range_makes_no_second_series() -> None:
    gpus = Gpus()
    news = gpus.take([WELL, WELL, msgspec.structs.replace(WELL, index=DEVICES_MAX)])
    assert (len(news), [gpu.device.index for gpu in gpus.of(())]) == (2, [0])


def test_a_storm_of_different_xids_makes_a_bounded_number_of_labels() -> None:
    gpus = Gpus()
    gpus.take([msgspec.structs.replace(WELL, xids=tuple(range(1, 500)))])
    gpus.take([msgspec.structs.replace(WELL, xids=(1,))])
    xids = gpus.of(())[0].xids
    assert (len(xids), xids[1]) == (XIDS_KEPT, 2)


def test_memory_is_summed_over_the_tree_and_the_environment_read() -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "3", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment) as child:
        found = host.measure(
            {
                "parent": host.RunProcesses(os.getpid()),
                "child": host.RunProcesses(child.pid),
                "none": host.RunProcesses(0),
            }
        )
        child.kill()
    parent, own = found["parent"].memory, found["child"].memory
    assert own.training_rss is not None
    assert parent.training_rss is not None
    assert 2**20 < own.training_rss < parent.training_rss
    assert parent.available <= parent.total
    assert found["child"].visible == {Visible("3", "PCI_BUS_ID")}
    assert found["child"].visible <= found["parent"].visible
    assert found["none"].memory.training_rss is None
    assert host.measure({"gone": host.RunProcesses(child.pid)})["gone"].memory.training_rss is None


def test_a_volume_is_read_once_however_many_folders_lie_on_it(tmp_path: Path) -> None:
    folders = {"run folder": str(tmp_path), "save_dir": str(tmp_path), "gone": str(tmp_path / "none")}
    read = volumes.measure({"night": folders, "elsewhere": {"run folder": "/nowhere/at/all"}})
    ((volume,), nothing) = (read["night"], read["elsewhere"])
    assert volume.name == "run folder and save_dir"
    assert 0 <= volume.free <= volume.total
    assert nothing == ()


READING = RunHardware(HostMemory(5 * 2**30, 60 * 2**30, 64 * 2**30), (Gpu(WELL),), driver_up=True)


def test_the_core_gets_a_reading_at_once_and_then_as_often_as_it_changes_within_bounds() -> None:
    changes = ChangeFilter(changed_s=15.0, unchanged_s=60.0)
    seen = seen_of("night", READING, (), "")
    warmer = msgspec.structs.replace(seen, host=HostSeen(1, 2))
    times = [at for at in range(200) if changes.due(seen if at < 130 else warmer, float(at))]
    assert times == [0, 60, 120, 135, 195]


def test_the_first_reading_of_the_devices_does_not_wait() -> None:
    """What they counted until then is no news; an error that came while it waited would be taken for that."""
    changes = ChangeFilter(changed_s=15.0, unchanged_s=60.0)
    assert changes.due(seen_of("night", RunHardware(READING.host, (), driver_up=False), (), ""), 0.0)
    assert changes.due(seen_of("night", READING, (), ""), 1.0)


def test_a_run_that_left_is_forgotten_and_nothing_known_is_nothing_told() -> None:
    changes = ChangeFilter(changed_s=15.0, unchanged_s=60.0)
    assert not changes.due(seen_of("night", RunHardware(), (), ""), 0.0)
    assert changes.due(seen_of("night", READING, (), ""), 1.0)
    changes.keep(set())
    assert changes.due(seen_of("night", READING, (), ""), 2.0)


@pytest.mark.parametrize(
    ("reading", "nvml", "gpus", "why"),
    [
        (READING, "", 1, ""),
        (RunHardware(READING.host, (Gpu(WELL, listed=False),), driver_up=True), "", 0, ""),
        (RunHardware(READING.host, (Gpu(WELL, listed=False),), driver_up=False), "it hangs", None, "it hangs"),
        (RunHardware(None, (Gpu(WELL),), driver_up=True), "", None, ""),
        (RunHardware(READING.host), "it hangs", None, ""),
    ],
    ids=["well", "gone", "hung", "host not read yet", "no GPU in use"],
)
def test_a_device_is_gone_only_where_nvml_answers_and_leaves_it_out(
    reading: RunHardware, nvml: str, gpus: int | None, why: str
) -> None:
    seen = seen_of("night", reading, (), nvml)
    assert (None if seen.gpus is None else len(seen.gpus), seen.nvml) == (gpus, why)


def test_a_reading_is_small_in_the_journal_and_numbers_keep_three_digits() -> None:
    seen = seen_of("night", READING, (VolumeSeen("run folder", 123_456_789_012, 10**12),), "")
    assert len(msgspec.msgpack.encode(Entry(1_000_000, 1_763_424_000.0, seen))) < 200
    assert seen.volumes[0].free == pytest.approx(123_456_789_012, rel=0.002)
    assert seen.volumes[0].free <= 123_456_789_012


@pytest.mark.parametrize(
    ("device", "uses"),
    [("NVIDIA H100 80GB HBM3", True), ("Tesla T4", True), ("cuda:0", True), ("cpu", False), ("mps:0", False)],
)
def test_a_training_uses_a_gpu_by_the_name_its_hooks_tell(device: str, uses: bool) -> None:
    hardware = Hardware(lambda: Fleet({"night": gpu_run(device)}), lambda *_: None, lambda _: None)
    assert hardware.readings()["night"].driver_up is (False if uses else None)


def _exposition(hardware: RunHardware) -> bytes:
    around = Surroundings(1.0, "0", {}, frozenset(), hardware={"night": hardware})
    return render(collect(Fleet({"night": gpu_run()}), around, Timings()), "")[0]


def _exposed(hardware: RunHardware) -> list[str]:
    lines = _exposition(hardware).decode().splitlines()
    return [line.removeprefix("trainwarden_") for line in lines if not line.startswith("#")]


def test_readings_show_as_metrics_in_base_units() -> None:
    gpus = Gpus()
    gpus.take([msgspec.structs.replace(WELL, xids=(79,), temperature_celsius=999)])
    shown = _exposed(RunHardware(HostMemory(5, 60, 100), gpus.of(()), driver_up=True))
    assert {
        'host_memory_bytes{kind="training_rss",run="night"} 5.0',
        'host_memory_bytes{kind="available",run="night"} 60.0',
        'nvml_up{run="night"} 1.0',
        'gpu_utilization_ratio{gpu="0",run="night"} 0.97',
        'gpu_memory_used_bytes{gpu="0",run="night"} 7.516192768e+10',
        'gpu_power_watts{gpu="0",run="night"} 698.0',
        'gpu_throttled{gpu="0",reason="sw_power_cap",run="night"} 1.0',
        'gpu_throttled{gpu="0",reason="hw_slowdown",run="night"} 0.0',
        'gpu_ecc_errors_total{gpu="0",kind="corrected",run="night"} 3.0',
        'gpu_remapped_rows{gpu="0",kind="correctable",run="night"} 1.0',
        'gpu_xid_errors_total{gpu="0",run="night",xid="79"} 1.0',
        'gpu_readings_refused_total{gpu="0",run="night"} 1.0',
    } <= set(shown)
    assert not any(line.startswith("gpu_temperature_celsius") for line in shown)


def test_what_is_not_known_has_no_series() -> None:
    assert not [line for line in _exposed(RunHardware()) if line.startswith(("host_", "nvml_", "gpu_"))]
    shown = _exposed(RunHardware(driver_up=False))
    assert {'nvml_up{run="night"} 0.0', 'gpu_driver_up{run="night"} 0.0'} <= set(shown)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (of Prometheus) is not here")
def test_the_exposition_of_hardware_passes_promtool() -> None:
    gpus = Gpus()
    gpus.take([msgspec.structs.replace(device, xids=(79,)) for device in PAIR])
    given = _exposition(RunHardware(HostMemory(5, 60, 100), gpus.of(()), driver_up=True))
    assert b'gpu_xid_errors_total{gpu="1",run="night",xid="79"}' in given
    tool = subprocess.run(["promtool", "check", "metrics"], input=given, capture_output=True, check=False)
    assert (tool.returncode, tool.stderr) == (0, b"")
