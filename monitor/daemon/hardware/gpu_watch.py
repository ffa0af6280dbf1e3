"""Follows the GPUs of one vendor while a live run uses one: its probe child, and what is known of the devices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from monitor.daemon.hardware.gpus import Gpus
from monitor.daemon.hardware.probe import GpuProbe, PollIntervals, ProbeFailed
from monitor.daemon.hardware.reading import Device, Vendor

HANGS_MIN = 2  # children in a row that the driver did not answer: one alone may be a machine under load


class GpuWatch:
    """`wanted`: whether a live run uses such a card now. `notify` gets sentences, which may repeat."""

    def __init__(
        self, vendor: Vendor, pace: PollIntervals, wanted: Callable[[], bool], notify: Callable[[str], None]
    ) -> None:
        self.gpus = Gpus(vendor)
        self.up, self.why_down = False, ""
        self._pace, self._wanted, self._notify = pace, wanted, notify
        self._probe = GpuProbe(pace, vendor)
        self._answered = False  # ever: a card that can't be read here is no driver that hangs
        self._hangs = 0

    @property
    def driver_hangs(self) -> bool:
        """True where the driver has answered before, and does not any more."""
        return self._answered and self._hangs >= HANGS_MIN

    async def run(self) -> None:
        """Keep the child while it is wanted: one start a restart period at most."""
        while True:
            rest_s = await self._listen() if self._wanted() else self._pace.look_s
            await asyncio.sleep(rest_s)

    async def _listen(self) -> float:
        """Follow the child to its end. Returns the seconds before the next start."""
        rest_s = self._pace.restart_s
        try:
            await self._probe.listen(self._hear)
        except (ProbeFailed, OSError) as error:
            failed = error if isinstance(error, ProbeFailed) else ProbeFailed(str(error))
            self._hangs = self._hangs + 1 if failed.hangs else 0
            self.why_down = str(error)
            if failed.absent:
                rest_s = self._pace.absent_s
            if self.driver_hangs:
                self._notify(f"the GPU's driver hangs: {error}; looking again every {rest_s:g} s")
            else:
                self._notify(f"no GPU is watched: {error}; looking again every {rest_s:g} s")
        finally:
            self.up = False
            self.gpus.blank()
        return rest_s

    def _hear(self, devices: tuple[Device, ...]) -> bool:
        self.up, self.why_down, self._answered, self._hangs = True, "", True, 0
        for text in self.gpus.take(devices):
            self._notify(text)
        return self._wanted()
