"""AMD cards, read from a folder like the kernel's: what is shown, and cards that hang, fail, leave or are too hot."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from pathlib import Path

import anyio
import msgspec
import pytest

from monitor.core.model import Finding, Severity
from monitor.core.state.run import Fleet
from monitor.daemon.hardware import amd, host
from monitor.daemon.hardware.probe import ENV_DRM
from monitor.daemon.hardware.reading import Device, Vendor, Visible, chosen
from monitor.daemon.metrics.exposition import Surroundings, Timings, collect, render
from tests.harness.amd import AmdCard
from tests.harness.nvml import QUICK, Watched, until
from tests.harness.simulation import Simulation, calm

HIP = {"torch": "1.13.1+rocm5.2", "hip": "5.2.21151"}
NAME = "AMD Radeon RX 5600 XT"
HANGING = msgspec.structs.replace(QUICK, deadline_s=2.0)


@pytest.fixture
def drm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where every daemon started from here on looks for cards."""
    monkeypatch.setenv(ENV_DRM, str(tmp_path / "drm"))
    return tmp_path / "drm"


@pytest.fixture
def card(drm: Path) -> AmdCard:
    return AmdCard(drm)


def read(drm: Path) -> list[Device]:
    return list(next(amd.lines(0.0, drm)).devices)


def test_what_the_kernel_says_of_a_card_is_read(drm: Path, card: AmdCard) -> None:
    assert read(drm) == [
        Device(
            index=0, uuid="GPU-3f1a2b4c5d6e7f80", name="AMD 0x731f", utilization_percent=97,
            memory_used_bytes=4_700_000_000, memory_total_bytes=6_425_673_728, temperature_celsius=84,
            slowdown_celsius=110, power_milliwatts=131_000, power_limit_milliwatts=160_000, fan_percent=40,
        )
    ]  # fmt: skip


def test_a_card_of_a_server_reports_its_name_and_memory_errors_and_has_no_fan(drm: Path, card: AmdCard) -> None:
    card.write("product_name", "Instinct MI210")
    card.write("ras/umc_err_count", "ue: 2\nce: 31")
    for name in ("pwm1", "pwm1_max", "power1_average"):
        (card.sensors / name).unlink()
    card.sense("power1_input", "300000000")
    (device,) = read(drm)
    assert (device.name, device.ecc_uncorrected, device.ecc_corrected) == ("Instinct MI210", 2, 31)
    assert (device.fan_percent, device.power_milliwatts, device.trouble) == (None, 300_000, "")


def test_what_an_older_driver_does_not_show_is_no_trouble(drm: Path, card: AmdCard) -> None:
    shutil.rmtree(card.sensors.parent)
    for name in ("unique_id", "gpu_busy_percent", "power/runtime_status"):
        (card.folder / name).unlink()
    (device,) = read(drm)
    assert (device.uuid, device.memory_total_bytes) == ("PCI-0000:0b:00.0", 6_425_673_728)
    assert (device.utilization_percent, device.temperature_celsius, device.trouble) == (None, None, "")


def test_a_card_that_nobody_uses_is_left_asleep(drm: Path, card: AmdCard) -> None:
    card.write("power/runtime_status", "suspended")
    card.block()
    (device,) = read(drm)
    assert (device.temperature_celsius, device.trouble) == (None, "")


def test_a_file_that_holds_no_number_is_a_trouble_of_the_card(drm: Path, card: AmdCard) -> None:
    card.write("gpu_busy_percent", "N/A")
    (card.folder / "mem_info_vram_used").unlink()
    (card.folder / "mem_info_vram_used").mkdir()  # EISDIR: an error that no card gives usually
    (device,) = read(drm)
    assert (device.utilization_percent, device.memory_used_bytes) == (None, None)
    assert device.trouble == "gpu_busy_percent: 'N/A' is not a number"


def test_a_reset_is_known_by_the_crash_dump_that_the_driver_keeps(drm: Path, card: AmdCard) -> None:
    (card.folder / "devcoredump").mkdir()
    assert "has reset the card" in read(drm)[0].trouble


def test_cards_count_by_their_bus_and_those_of_others_do_not_count(drm: Path, card: AmdCard) -> None:
    AmdCard(drm, 1, "0000:03:00.0").write("unique_id", "aa")
    AmdCard(drm, 2, "0000:01:00.0").write("vendor", "0x10de")
    assert [(device.index, device.uuid) for device in read(drm)] == [(0, "GPU-aa"), (1, "GPU-3f1a2b4c5d6e7f80")]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, {0, 1, 2}),
        ({"HIP_VISIBLE_DEVICES": "1"}, {1}),
        ({"CUDA_VISIBLE_DEVICES": "2"}, {2}),
        ({"HIP_VISIBLE_DEVICES": "1", "CUDA_VISIBLE_DEVICES": "2"}, {1}),
        ({"ROCR_VISIBLE_DEVICES": "2,0"}, {0, 2}),
        ({"ROCR_VISIBLE_DEVICES": "2,0", "HIP_VISIBLE_DEVICES": "0"}, {2}),
        ({"ROCR_VISIBLE_DEVICES": "GPU-a1"}, {1}),
        ({"HIP_VISIBLE_DEVICES": ""}, set()),
    ],
)
def test_the_devices_of_a_run_on_amd_cards_are_those_its_processes_may_use(
    environment: dict[str, str], expected: set[int]
) -> None:
    devices = [Device(index=index, uuid=f"GPU-a{index}", name="MI210") for index in range(3)]
    said = Visible.of(environment, Vendor.AMD)
    assert chosen(devices, [said] if said else []) == expected


def watched(pid: int = 0) -> Watched:
    return Watched(HANGING, NAME, pid, HIP)


def exposed(seen: Watched) -> list[str]:
    around = Surroundings(1.0, "0", {}, frozenset(), hardware=seen.hardware.readings())
    lines = render(collect(Fleet({"night": seen.run}), around, Timings()), "")[0].decode().splitlines()
    return [line.removeprefix("trainwarden_") for line in lines]


async def told_the_core(seen: Watched, training: Simulation) -> list[Finding]:
    """What the real core makes of the readings that came meanwhile."""
    while seen.readings:
        training.now_s += 15.0
        training.feed(msgspec.structs.replace(seen.readings.pop(0), run="night"))
    return training.findings("gpu_errors") + training.findings("gpu_throttling")


def test_a_card_that_stops_answering_is_a_driver_that_hangs_until_it_answers_again(card: AmdCard) -> None:
    async def scenario() -> None:
        seen, training = watched(os.getpid()), Simulation()
        calm(training, 10, random.Random(1))
        async with seen.watching():
            await until("the card is read", lambda: seen.up and seen.readings)
            assert await told_the_core(seen, training) == []
            card.block()
            await until("one miss is told", lambda: seen.told("the AMD driver did not answer for 2 s"))
            assert seen.told("driver hangs") == 0, "a machine under load misses one deadline too"
            assert seen.gpus[0].device.temperature_celsius is None, "nothing freezes"
            await until("the driver hangs", lambda: seen.told("the GPU's driver hangs: the AMD driver did not answer"))
            await until("the core knows", lambda: any(reading.driver_hangs for reading in seen.readings))
            found = await told_the_core(seen, training)
            assert [each.severity for each in found] == [Severity.INFO, Severity.WARNING]
            assert found[-1].summary == "the GPU's driver hangs: the AMD driver did not answer for 2 s"
            card.answer()
            await until("it answers again", lambda: seen.up)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"trouble": "mkdir"}, "GPU 0: the driver says 'mem_info_vram_used: Is a directory'"),
        ({"ras/umc_err_count": "ue: 3\nce: 0"}, "GPU 0: 3 more uncorrectable ECC errors (in all 3)"),
        ({"temp2_input": "109000"}, "GPU 0: it has been too hot for minutes at 109 degrees Celsius"),
        ({"vendor": "0x0"}, "the GPUs can't be watched: the AMD driver can't be used: no AMD card in"),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
)
def test_what_goes_wrong_with_an_amd_card_becomes_a_finding_of_the_run(
    change: dict[str, str], sentence: str, card: AmdCard
) -> None:
    card.write("ras/umc_err_count", "ue: 0\nce: 0")

    async def scenario() -> None:
        seen, training = watched(os.getpid()), Simulation()
        calm(training, 10, random.Random(1))
        async with seen.watching():
            await until("the card is read", lambda: seen.up and seen.readings)
            assert await told_the_core(seen, training) == []
            for name, text in change.items():
                if text == "mkdir":
                    (card.folder / "mem_info_vram_used").unlink()
                    (card.folder / "mem_info_vram_used").mkdir()
                else:
                    (card.sense if name.startswith("temp") else card.write)(name, text)
            found: list[Finding] = []
            with anyio.fail_after(30):
                while not found:
                    found = await told_the_core(seen, training)
                    await asyncio.sleep(0.05)
            assert found[0].summary.startswith(sentence)

    asyncio.run(scenario())


def test_the_metrics_of_an_amd_card_are_those_of_every_card(card: AmdCard) -> None:
    async def scenario() -> None:
        seen = watched(os.getpid())
        async with seen.watching():
            await until("the card is read", lambda: seen.up)
            lines = exposed(seen)
            of_it = 'gpu="0",run="night"'
            assert {
                'gpu_driver_up{run="night"} 1.0',
                f"gpu_utilization_ratio{{{of_it}}} 0.97",
                f"gpu_memory_used_bytes{{{of_it}}} 4.7e+09",
                f"gpu_temperature_celsius{{{of_it}}} 84.0",
                f"gpu_power_watts{{{of_it}}} 131.0",
                f"gpu_fan_ratio{{{of_it}}} 0.4",
            } <= set(lines)
            assert not [line for line in lines if line.startswith("nvml_up{")]

    asyncio.run(scenario())


def test_no_child_reads_cards_of_a_vendor_that_no_run_uses(card: AmdCard) -> None:
    on_the_cpu = Watched(HANGING, "cpu", os.getpid(), HIP)
    assert on_the_cpu.hardware.readings()["night"].driver_up is None
    both = host.measure({"night": host.RunProcesses(os.getpid(), Vendor.AMD)})
    assert both["night"].memory.training_rss
