"""Follows host memory and GPUs for the live runs, beside the loop. An edge file: a thread and a child process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from monitor.background import off_loop
from monitor.hardware import host
from monitor.hardware.gpus import Gpus
from monitor.hardware.probe import GpuProbe, Pace, ProbeFailed
from monitor.hardware.reading import Device, RunHardware
from monitor.model import Severity
from monitor.state.run import Fleet, RunState

TOLD_MAX = 64  # different sentences in a daemon's life: what repeats every 5 s must not fill story and log

log = logging.getLogger("trainwarden.hardware")


class Hardware:
    """What host and GPUs say, by run. `watch_host` and `watch_gpus` run for ever; neither ever blocks the loop.

    `say` gets (run, severity, text), each sentence once.
    """

    def __init__(
        self, fleet: Callable[[], Fleet], say: Callable[[str, str, str], None], pace: Pace | None = None
    ) -> None:
        self._fleet, self._say, self._pace = fleet, say, pace or Pace()
        self._probe, self._gpus = GpuProbe(self._pace), Gpus()
        self._hosts: dict[str, host.RunHost] = {}
        self._up = False
        self._told: set[str] = set()

    def readings(self) -> dict[str, RunHardware]:
        """Of every live run that something is known of."""
        return {name: self._reading(name, run) for name, run in self._fleet().runs.items() if run.alive}

    async def watch_host(self) -> None:
        """Read the memory of every live run each period."""
        while True:
            pids = {name: _pid(run) for name, run in self._fleet().runs.items() if run.alive}
            self._hosts = await self._measured(pids) if pids else {}
            await asyncio.sleep(self._pace.period_s if pids else self._pace.look_s)

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
            if isinstance(error, ProbeFailed) and error.absent:
                rest_s = self._pace.absent_s
            self._tell(f"no GPU is watched: {error}; looking again every {rest_s:g} s")
        finally:
            self._up = False
            self._gpus.blank()
        return rest_s

    async def _measured(self, pids: dict[str, int]) -> dict[str, host.RunHost]:
        """What is read however long it takes, so that there is one reader; past the deadline nothing shows as known."""
        reading = asyncio.ensure_future(off_loop(host.measure, pids))
        await asyncio.wait({reading}, timeout=self._pace.deadline_s)
        if not reading.done():
            self._hosts = {}
            self._tell(f"/proc did not answer for {self._pace.deadline_s:g} s; host memory is not known")
        try:
            return await reading
        except OSError as error:
            self._tell(f"host memory can't be read: {error}")
            return {}

    def _hear(self, devices: tuple[Device, ...]) -> bool:
        self._up = True
        for text in self._gpus.take(devices):
            self._tell(text)
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

    def _tell(self, text: str) -> None:
        if text not in self._told and len(self._told) < TOLD_MAX:
            log.warning("%s", text)
            self._told.add(text)
            self._say("", Severity.WARNING, text)


def _pid(run: RunState) -> int:
    return run.pid or (run.training.pid if run.training else 0)


def _uses_gpu(run: RunState) -> bool:
    return run.alive and run.training is not None and run.training.device.startswith("cuda")
