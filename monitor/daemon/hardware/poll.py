"""Follows host memory, volumes and GPUs for the live runs, beside the loop. An edge file: threads and a child process.

What is read shows in the metrics at once; the core gets it as an input, as monitor.daemon.hardware.changes says.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from monitor.core.model import HardwareSeen, Severity, VolumeSeen
from monitor.core.state.run import Fleet, RunState, TrainingState
from monitor.daemon.background import off_loop
from monitor.daemon.hardware import host, volumes
from monitor.daemon.hardware.changes import ChangeFilter, seen_of
from monitor.daemon.hardware.gpus import Gpus
from monitor.daemon.hardware.probe import GpuProbe, PollIntervals, ProbeFailed
from monitor.daemon.hardware.reading import Device, RunHardware

SENTENCES_MAX = 64  # different sentences in a daemon's life: what repeats every 5 s must not fill timeline and log
LAST = "there are more such messages; none of them is shown until the daemon is started again"
NO_GPU = ("cpu", "mps", "xpu", "xla", "hpu", "npu", "meta")  # devices of torch that NVML knows nothing of

Asked = TypeVar("Asked")
Measured = TypeVar("Measured")

log = logging.getLogger("trainwarden.hardware")


class Hardware:
    """What host, volumes and GPUs say, by run. The four watches run for ever; none ever blocks the loop.

    `notify` gets (run, severity, text), each sentence once; `offer` the readings that the core is to know.
    """

    def __init__(
        self,
        fleet: Callable[[], Fleet],
        notify: Callable[[str, str, str], None],
        offer: Callable[[HardwareSeen], None],
        pace: PollIntervals | None = None,
    ) -> None:
        self._fleet, self._notify, self._offer, self._pace = fleet, notify, offer, pace or PollIntervals()
        self._probe, self._gpus = GpuProbe(self._pace), Gpus()
        self._hosts: dict[str, host.RunHost] = {}
        self._volumes: dict[str, tuple[VolumeSeen, ...]] = {}
        self._up, self._why_down = False, ""
        self._notified: set[str] = set()
        self._changes = ChangeFilter(self._pace.changed_s, self._pace.unchanged_s)

    def readings(self) -> dict[str, RunHardware]:
        """Of every live run that something is known of."""
        return {name: self._reading(name, run) for name, run in self._fleet().runs.items() if run.alive}

    async def watch_host(self) -> None:
        """Read the memory of every live run each period."""
        while True:
            pids = {name: _pid(run) for name, run in self._fleet().runs.items() if run.alive}
            self._hosts = await self._memory(pids) if pids else {}
            await asyncio.sleep(self._pace.period_s if pids else self._pace.look_s)

    async def watch_volumes(self) -> None:
        """Read what is free where the live runs write, each period."""
        while True:
            asked = {name: _folders(run) for name, run in self._fleet().runs.items() if run.alive}
            self._volumes = await self._free(asked) if asked else {}
            await asyncio.sleep(self._pace.period_s if asked else self._pace.look_s)

    async def feed_core(self) -> None:
        """Offer each live run's reading when it is due."""
        while True:
            live = {name: run for name, run in self._fleet().runs.items() if run.alive}
            self._changes.keep(set(live))
            for name, run in live.items():
                seen = seen_of(name, self._reading(name, run), self._volumes.get(name, ()), self._why_down)
                if self._changes.due(seen, time.monotonic()):
                    self._offer(seen)
            await asyncio.sleep(self._pace.look_s)

    async def watch_gpus(self) -> None:
        """Keep the probe child while a live run uses a GPU: one start a restart period at most."""
        while True:
            rest_s = await self._listen() if self._wanted() else self._pace.look_s
            await asyncio.sleep(rest_s)

    async def _listen(self) -> float:
        """Follow the child to its end. Returns the seconds before the next start."""
        rest_s = self._pace.restart_s
        try:
            await self._probe.listen(self._hear)
        except (ProbeFailed, OSError) as error:
            self._why_down = str(error)
            if isinstance(error, ProbeFailed) and error.absent:
                rest_s = self._pace.absent_s
            self._notify_once(f"no GPU is watched: {error}; looking again every {rest_s:g} s")
        finally:
            self._up = False
            self._gpus.blank()
        return rest_s

    async def _memory(self, pids: dict[str, int]) -> dict[str, host.RunHost]:
        return await self._measured("/proc", host.measure, pids, self._hosts.clear)

    async def _free(self, folders: dict[str, dict[str, str]]) -> dict[str, tuple[VolumeSeen, ...]]:
        return await self._measured("a volume", volumes.measure, folders, self._volumes.clear)

    async def _measured(
        self, what: str, measure: Callable[[Asked], dict[str, Measured]], asked: Asked, forget: Callable[[], None]
    ) -> dict[str, Measured]:
        """What is read however long it takes, so that there is one reader; past the deadline nothing shows as known."""
        reading = asyncio.ensure_future(off_loop(measure, asked))
        await asyncio.wait({reading}, timeout=self._pace.deadline_s)
        if not reading.done():
            forget()
            self._notify_once(f"{what} did not answer for {self._pace.deadline_s:g} s; what it holds is not known")
        try:
            return await reading
        except OSError as error:
            self._notify_once(f"{what} can't be read: {error}")
            return {}

    def _hear(self, devices: tuple[Device, ...]) -> bool:
        self._up, self._why_down = True, ""
        for text in self._gpus.take(devices):
            self._notify_once(text)
        return self._wanted()

    def _wanted(self) -> bool:
        return any(_uses_gpu(run) for run in self._fleet().runs.values())

    def _reading(self, name: str, run: RunState) -> RunHardware:
        known = self._hosts.get(name)
        memory = known.memory if known else None
        if not _uses_gpu(run):
            return RunHardware(memory)
        # Before its environment was read, another training's devices would show as its own.
        return RunHardware(memory, self._gpus.of(known.visible) if known else (), self._up)

    def _notify_once(self, text: str) -> None:
        if text not in self._notified and len(self._notified) >= SENTENCES_MAX:
            text = LAST
        if text not in self._notified:
            log.warning("%s", text)
            self._notified.add(text)
            self._notify("", Severity.WARNING, text)


def _pid(run: RunState) -> int:
    return run.pid or (run.training.started.pid if run.training.started else 0)


def _uses_gpu(run: RunState) -> bool:
    """The hooks report a CUDA device by its own name ("NVIDIA H100 80GB HBM3"), and others by torch's."""
    devices = [each.started.device for each in run.trainings.values() if each.started and _matters(run, each)]
    return run.alive and any(device and not device.startswith(NO_GPU) for device in devices)


def _matters(run: RunState, training: TrainingState) -> bool:
    """True for a training that goes on, and for the one that began last."""
    return training is run.training or run.trains(training)


def _folders(run: RunState) -> dict[str, str]:
    training = run.going_on.started or run.training.started
    found = {"run folder": training.run_folder, "save_dir": training.save_dir} if training else {}
    return {name: str(Path(run.spec.cwd) / path) for name, path in found.items() if path}
