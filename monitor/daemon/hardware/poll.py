"""Follows host memory, volumes and GPUs for the live runs, beside the loop. An edge file: threads and a child process.

What is read shows in the metrics at once; the core gets it as an input, as monitor.daemon.hardware.changes says.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from monitor.core.model import HardwareSeen, Severity, VolumeSeen
from monitor.core.state.run import Fleet, RunState, TrainingState
from monitor.daemon.background import off_loop
from monitor.daemon.hardware import host, volumes
from monitor.daemon.hardware.changes import ChangeFilter, seen_of
from monitor.daemon.hardware.gpu_watch import GpuWatch
from monitor.daemon.hardware.probe import PollIntervals
from monitor.daemon.hardware.reading import RunHardware, Vendor

SENTENCES_MAX = 64  # different sentences in a daemon's life: what repeats every 5 s must not fill timeline and log
LAST = "there are more such messages; none of them is shown until the daemon is started again"
NO_GPU = ("cpu", "mps", "xpu", "xla", "hpu", "npu", "meta")  # devices of torch that no reader of ours knows

Asked = TypeVar("Asked")
Measured = TypeVar("Measured")

log = logging.getLogger("trainwarden.hardware")


class Hardware:
    """What host, volumes and GPUs say, by run. Its watches run for ever; none ever blocks the loop.

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
        self._gpus = {
            vendor: GpuWatch(vendor, self._pace, partial(self._wanted, vendor), self._notify_once) for vendor in Vendor
        }
        self._hosts: dict[str, host.RunHost] = {}
        self._volumes: dict[str, tuple[VolumeSeen, ...]] = {}
        self._notified: set[str] = set()
        self._changes = ChangeFilter(self._pace.changed_s, self._pace.unchanged_s)

    def watches(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """What runs for ever."""
        gpus = [watch.run for watch in self._gpus.values()]
        return self.watch_host, self.watch_volumes, *gpus, self.feed_core

    def readings(self) -> dict[str, RunHardware]:
        """Of every live run that something is known of."""
        return {name: self._reading(name, run) for name, run in self._fleet().runs.items() if run.alive}

    async def watch_host(self) -> None:
        """Read the memory of every live run each period."""
        while True:
            runs = self._fleet().runs
            asked = {name: host.RunProcesses(_pid(run), _vendor(run)) for name, run in runs.items() if run.alive}
            self._hosts = await self._memory(asked) if asked else {}
            await asyncio.sleep(self._pace.period_s if asked else self._pace.look_s)

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
                gpus = self._gpus[_vendor(run)]
                seen = seen_of(
                    name, self._reading(name, run), self._volumes.get(name, ()), gpus.why_down,
                    driver_hangs=gpus.driver_hangs,
                )  # fmt: skip
                if self._changes.due(seen, time.monotonic()):
                    self._offer(seen)
            await asyncio.sleep(self._pace.look_s)

    async def _memory(self, asked: dict[str, host.RunProcesses]) -> dict[str, host.RunHost]:
        return await self._measured("/proc", host.measure, asked, self._hosts.clear)

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

    def _wanted(self, vendor: Vendor) -> bool:
        return any(_uses_gpu(run) and _vendor(run) is vendor for run in self._fleet().runs.values())

    def _reading(self, name: str, run: RunState) -> RunHardware:
        known = self._hosts.get(name)
        memory = known.memory if known else None
        if not _uses_gpu(run):
            return RunHardware(memory)
        vendor = _vendor(run)
        watch = self._gpus[vendor]
        # Before its environment was read, another training's devices would show as its own.
        return RunHardware(memory, watch.gpus.of(known.visible) if known else (), watch.up, vendor)

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


def _vendor(run: RunState) -> Vendor:
    """A torch for AMD cards reports the version of HIP, and calls its devices cuda."""
    started = run.going_on.started
    return Vendor.AMD if started is not None and started.versions.get("hip") else Vendor.NVIDIA


def _matters(run: RunState, training: TrainingState) -> bool:
    """True for a training that goes on, and for the one that began last."""
    return training is run.training or run.trains(training)


def _folders(run: RunState) -> dict[str, str]:
    training = run.going_on.started or run.training.started
    found = {"run folder": training.run_folder, "save_dir": training.save_dir} if training else {}
    return {name: str(Path(run.spec.cwd) / path) for name, path in found.items() if path}
