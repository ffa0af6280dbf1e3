"""A stand-in NVML, built from C, and a run that watches it."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from monitor.core.model import HardwareSeen
from monitor.core.state.run import Fleet, RunState, TrainingState
from monitor.daemon.hardware.poll import Hardware
from monitor.daemon.hardware.probe import PollIntervals
from monitor.daemon.hardware.reading import Gpu
from tests.harness.trainer import training_started
from trainer_hooks.wire.run_documents import RunSpec
from trainer_hooks.wire.runfolder import RunFolder

SOURCE = Path(__file__).with_name("stand_in.c")
QUICK = PollIntervals(
    period_s=0.1, deadline_s=4.0, restart_s=0.4, absent_s=0.4, look_s=0.02, changed_s=0.1, unchanged_s=0.5
)


def build(folder: Path) -> Path:
    """Compile it into `folder` as libnvidia-ml.so.1, which LD_LIBRARY_PATH then finds."""
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(["gcc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    return library


class StandIn:
    """How it behaves: see the letters in stand_in.c."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "nvml-mode"
        self.behave("k")

    def behave(self, letter: str) -> None:
        fresh = self.file.with_suffix(".new")
        fresh.write_text(letter)
        fresh.replace(self.file)

    @property
    def starts(self) -> int:
        return self._log().count("s")

    @property
    def unheeded(self) -> int:
        """SIGTERMs that a hanging child was sent."""
        return self._log().count("t")

    def _log(self) -> str:
        file = Path(f"{self.file}.log")
        return file.read_text() if file.exists() else ""


class Watched:
    """One live run that uses a GPU, and what was reported about it."""

    def __init__(
        self, pace: PollIntervals = QUICK, device: str = "cuda:0", pid: int = 0, versions: dict[str, str] | None = None
    ) -> None:
        self.timeline: list[str] = []
        self.readings: list[HardwareSeen] = []
        self.run = gpu_run(device, pid, versions)
        self.hardware = Hardware(
            lambda: Fleet({"night": self.run}),
            lambda _run, _how, text: self.timeline.append(text),
            self.readings.append,
            pace,
        )

    @property
    def up(self) -> bool:
        return self.hardware.readings()["night"].driver_up is True and bool(self.gpus)

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        return self.hardware.readings()["night"].gpus

    def told(self, part: str) -> int:
        return sum(part in text for text in self.timeline)

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Host and GPUs are followed; left, it ends as when the daemon leaves."""
        tasks = [asyncio.ensure_future(watch()) for watch in self.hardware.watches()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


def gpu_run(device: str = "cuda:0", pid: int = 0, versions: dict[str, str] | None = None) -> RunState:
    """`versions`: with one of HIP the card is an AMD one."""
    spec = RunSpec(run="night", argv=(), cwd="/", created_s=0.0, act=False)
    started = msgspec.structs.replace(
        training_started(RunFolder(Path("/nowhere/night"))), device=device, versions=versions or {}
    )
    training = TrainingState(1, started=started)
    return RunState(spec, "{}", 0.0, alive=True, pid=pid, trainings={1: training})


async def until(what: str, holds: Callable[[], object], within_s: float = 30.0) -> None:
    """Return once `holds` is true. Raises AssertionError, naming `what`, if it never is."""
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, f"within {within_s} s it did not happen: {what}"
        await asyncio.sleep(0.02)
