"""NVML that is absent, hangs, crashes, lies or loses a device: reported, never fatal, and never waited for.

The library is a stand-in built from C, so that no GPU is needed: how a real driver hangs is not shown here.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from monitor.core.model import Finding, GenerationStarted, Severity
from monitor.core.model.channel import RunAnnounced
from tests.harness.nvml import QUICK, StandIn, Watched, build, until
from tests.harness.real_daemon import DaemonProcess
from tests.harness.real_daemon import until as until_now
from tests.harness.simulation import Simulation, calm
from tests.harness.trainer import FakeTrainer, announce, training_started

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc, which builds the stand-in NVML, is not here")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def nvml(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Every process started from here on finds the stand-in."""
    stand_in = StandIn(tmp_path)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(library.parent))
    monkeypatch.setenv("NVML_STAND_IN", str(stand_in.file))
    return stand_in


def probes() -> list[psutil.Process]:
    """Our probe children that live, the stopped and the dying included."""
    return [one for one in psutil.Process().children() if "monitor.daemon.hardware" in one.cmdline()]


def test_what_nvml_says_is_read(nvml: StandIn) -> None:
    async def scenario() -> None:
        watched = Watched()
        async with watched.watching():
            await until("NVML answers", lambda: watched.up)
            first, second = (gpu.device for gpu in watched.gpus)
            assert (first.utilization_percent, first.memory_used_bytes, first.temperature_celsius) == (
                75,
                3 * 10**9,
                61,
            )
            assert (first.power_milliwatts, first.throttle_bits) == (250_500, 0x4)
            assert (first.ecc_corrected, first.ecc_uncorrected) == (12, 1)
            assert (first.rows_correctable, first.rows_uncorrectable) == (2, 1)
            assert (second.memory_used_bytes, second.rows_correctable) == (3 * 10**9 + 1, None)
            assert (second.trouble, watched.timeline) == ("", [])  # what a card can't say is no trouble

    asyncio.run(scenario())
    assert (nvml.starts, probes()) == (1, [])


@pytest.mark.parametrize("how", ["no library", "no driver"])
def test_without_nvml_it_is_said_once_however_often_it_is_looked_for(
    how: str, nvml: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        watched = Watched()
        began_s = time.monotonic()
        async with watched.watching():
            await until("it is told", lambda: watched.timeline)
            assert watched.hardware.readings()["night"].driver_up is False
            if how == "no driver":
                await until("it is looked for again", lambda: nvml.starts == 3)
                assert time.monotonic() - began_s >= 2 * QUICK.absent_s
        assert len(watched.timeline) == 1
        assert ("Library Not Found" if how == "no library" else "Driver Not Loaded") in watched.timeline[0]

    if how == "no library":
        (tmp_path / "libnvidia-ml.so.1").write_bytes(b"")  # found before one that this machine may really have
        monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    else:
        nvml.behave("n")
    asyncio.run(scenario())


def test_nvml_that_hangs_is_reported_ended_and_read_again_when_it_answers(nvml: StandIn) -> None:
    async def scenario() -> None:
        watched, beats = Watched(), [0]

        async def beat() -> None:
            while True:
                beats[0] += 1
                await asyncio.sleep(0.01)

        beating = asyncio.create_task(beat())
        async with watched.watching():
            await until("NVML answers", lambda: watched.up)
            hung = probes()[0]
            nvml.behave("h")
            before = beats[0]
            await until("it is reported", lambda: watched.told("did not answer"))
            assert beats[0] - before > 20  # the loop went on
            assert watched.up is False
            assert [gpu.device.temperature_celsius for gpu in watched.gpus] == [None, None]  # nothing freezes
            nvml.behave("k")
            await until("NVML answers again", lambda: watched.up)
            assert not hung.is_running()  # it heeded no SIGTERM
            assert len(probes()) == 1
        beating.cancel()

    asyncio.run(scenario())
    assert (nvml.starts, probes()) == (2, [])


@pytest.mark.parametrize("when", ["it hangs", "it is being ended"])
def test_leaving_while_nvml_hangs_takes_seconds_and_leaves_no_child(when: str, nvml: StandIn) -> None:
    nvml.behave("h")

    async def scenario() -> float:
        async with Watched(msgspec.structs.replace(QUICK, deadline_s=1.0)).watching():
            await until(when, lambda: nvml.starts if when == "it hangs" else nvml.unheeded)
            left_s = time.monotonic()
        return time.monotonic() - left_s

    assert asyncio.run(scenario()) < 8.0
    assert probes() == []


def test_nvml_that_crashes_is_started_again_at_the_pace_of_restarts(nvml: StandIn) -> None:
    nvml.behave("c")

    async def scenario() -> None:
        watched, began_s = Watched(), time.monotonic()
        async with watched.watching():
            await until("it was started three times", lambda: nvml.starts == 3)
            assert time.monotonic() - began_s >= 2 * QUICK.restart_s
            assert watched.told("died (signal 6)") == 1
            assert len(watched.timeline) == 1
            nvml.behave("k")
            await until("NVML answers", lambda: watched.up)

    asyncio.run(scenario())


def test_values_that_can_not_be_are_refused_and_counted(nvml: StandIn) -> None:
    nvml.behave("l")

    async def scenario() -> None:
        watched = Watched()
        async with watched.watching():
            await until("two readings came", lambda: watched.up and watched.gpus[0].refused >= 8)
            device = watched.gpus[0].device
            shown = (device.utilization_percent, device.memory_used_bytes, device.temperature_celsius)
            assert (*shown, device.power_milliwatts) == (None, None, None, None)
            assert device.ecc_corrected == 12  # what can be true is shown
            assert watched.told("GPU 0: NVML says temperature_celsius beyond") == 1

    asyncio.run(scenario())


def test_an_xid_error_is_counted_and_told_and_stays_counted_when_the_device_is_gone(nvml: StandIn) -> None:
    nvml.behave("x")

    async def scenario() -> None:
        watched = Watched()
        async with watched.watching():
            await until("the error is counted", lambda: watched.gpus and watched.gpus[0].xids)
            assert [gpu.xids for gpu in watched.gpus] == [{79: 1}, {}]
            assert watched.told("GPU 0: the driver reports XID 79") == 1
            nvml.behave("e")
            await until("it is lost", lambda: watched.told("GPU is lost"))
            assert (watched.gpus[0].device.temperature_celsius, watched.gpus[0].xids) == (None, {79: 1})
            nvml.behave("g")
            await until("the other is gone", lambda: watched.told("GPU 1 is no longer listed"))
            assert (watched.up, watched.gpus[1].device.temperature_celsius) == (True, None)

    asyncio.run(scenario())


def test_no_child_lives_where_no_run_uses_a_gpu(nvml: StandIn) -> None:
    async def scenario() -> None:
        watched = Watched()
        async with watched.watching():
            await until("NVML answers", lambda: watched.up)
            watched.run.alive = False
            await until("the child is gone", lambda: not probes())
            assert watched.hardware.readings() == {}
        assert watched.timeline == []
        on_the_cpu = Watched(device="cpu")
        assert on_the_cpu.hardware.readings()["night"].driver_up is None

    asyncio.run(scenario())
    assert nvml.starts == 1


@pytest.fixture
def training_process() -> Iterator[int]:
    """A process that may use device 1 alone."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "1"}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment) as process:
        yield process.pid
        process.kill()


def gone(process: psutil.Process) -> bool:
    """It left, whether or not whoever inherited it has reaped it."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_a_killed_daemon_leaves_no_child_behind_though_nvml_hangs(
    nvml: StandIn, tmp_path: Path, training_process: int
) -> None:
    nvml.behave("h")
    with DaemonProcess(tmp_path) as daemon, FakeTrainer(daemon.home, "night", pid=training_process) as trainer:
        trainer.allocate(training_process)
        trainer.event(msgspec.structs.replace(training_started(trainer.folder, training_process), device="cuda:0"))
        trainer.until_seen()
        until_now("the child hangs", lambda: nvml.starts)
        assert daemon.process is not None
        (child,) = psutil.Process(daemon.process.pid).children()
        daemon.kill()
        until_now("the child left", lambda: gone(child))


def test_the_daemon_shows_the_devices_of_a_run_and_its_memory(
    nvml: StandIn, tmp_path: Path, training_process: int
) -> None:
    with DaemonProcess(tmp_path) as daemon:
        announce(daemon.home, "night")
        daemon.send(RunAnnounced("night"))
        with FakeTrainer(daemon.home, "night", pid=training_process) as trainer:
            trainer.allocate(training_process, os.getpid())
            daemon.send(GenerationStarted("night", 1, "n1", training_process, os.getpid()))
            trainer.event(msgspec.structs.replace(training_started(trainer.folder, training_process), device="cuda:0"))
            trainer.until_seen()
            of_the_run = '{kind="training_rss",run="night"}'
            until_now("memory is read", lambda: daemon.metric(f"trainwarden_host_memory_bytes{of_the_run}"))
            until_now("NVML answers", lambda: daemon.metric('trainwarden_nvml_up{run="night"}'))
            power = 'trainwarden_gpu_power_watts{gpu="%d",run="night"}'
            assert (daemon.metric(power % 1), daemon.metric(power % 0)) == (250.5, None)
            assert daemon.metric('trainwarden_gpu_throttled{gpu="1",reason="sw_power_cap",run="night"}') == 1
            assert daemon.metric('trainwarden_gpu_throttled{gpu="1",reason="hw_thermal",run="night"}') == 0
            assert daemon.metric('trainwarden_gpu_ecc_errors_total{gpu="1",kind="corrected",run="night"}') == 12
            nvml.behave("u")
            told = "GPU 1: 2 more uncorrectable ECC errors (in all 3)"
            until_now(
                "the core was told",
                lambda: told in daemon.get("/api/v1/runs/night/timeline?wait_s=0").text,
                within_s=40.0,
            )
    assert nvml.starts == 1


async def told_the_core(nvml: StandIn, letter: str, detector: str) -> Finding:
    """What the real core makes of the readings, first of a device that is well and then of one that is not."""
    watched, training = Watched(pid=os.getpid()), Simulation()
    calm(training, 10, random.Random(1))

    def told() -> list[Finding]:
        while watched.readings:
            training.now_s += 15.0
            training.feed(msgspec.structs.replace(watched.readings.pop(0), run="night"))
        return training.findings(detector)

    async with watched.watching():
        await until("the core knows the devices", lambda: told() or training.run.hardware.gpus)
        assert not told()
        nvml.behave(letter)
        await until(f"{detector} is found", told)
    return told()[0]


@pytest.mark.parametrize(
    ("letter", "detector", "sentence"),
    [
        ("x", "gpu_errors", "GPU 0: XID 79 (the GPU has fallen off the bus)"),
        ("u", "gpu_errors", "GPU 0: 2 more uncorrectable ECC errors (in all 3)"),
        ("e", "gpu_errors", "GPU 0: the driver says 'GPU is lost'"),
        ("g", "gpu_errors", "GPU 1: the driver does not list it any more"),
        ("c", "gpu_errors", "the GPUs can't be watched: the reader of NVML died (signal 6)"),
        ("w", "gpu_throttling", "GPU 0: it has been slowing itself down for minutes at 93 degrees Celsius"),
    ],
)
def test_what_goes_wrong_with_a_device_becomes_a_finding_of_the_run(
    letter: str, detector: str, sentence: str, nvml: StandIn
) -> None:
    finding = asyncio.run(told_the_core(nvml, letter, detector))
    assert sentence in finding.summary
    assert finding.severity is (Severity.INFO if letter == "c" else Severity.WARNING)
