"""Starts and ends the child that reads the GPUs of one vendor. An edge file: a process, in the daemon's loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable

import anyio
import msgspec

import _trainwarden
from monitor.daemon.hardware.reading import Device, ProbeLine, Vendor

LINE_BYTES_MAX = 256 * 1024  # 64 devices need a tenth of it
ENV_DRM = "TRAINWARDEN_DRM"  # another folder than the kernel's own, /sys/class/drm: for tests
ENDING_S = 2.0  # for SIGTERM, and then for SIGKILL, to end the child


class PollIntervals(msgspec.Struct, frozen=True, kw_only=True):
    """How often, in seconds."""

    period_s: float = 5.0  # between two readings
    deadline_s: float = 15.0  # a child that printed nothing for this long hangs
    restart_s: float = 60.0  # between two starts at least
    absent_s: float = 900.0  # before looking again for a library or a card that is not there
    look_s: float = 1.0  # between two looks whether any run needs it
    changed_s: float = 15.0  # between two readings of a run that the core gets, where they differ
    unchanged_s: float = 60.0  # and where they don't: it measures times by readings


class ProbeFailed(Exception):
    """The child gave no reading. The text says what happened; `absent`: there is nothing to read here.

    `hangs`: the driver does not answer; every other failure comes at once.
    """

    def __init__(self, text: str, *, absent: bool = False, hangs: bool = False) -> None:
        super().__init__(text)
        self.absent, self.hangs = absent, hangs


class GpuProbe:
    """At most one child. Making the object starts nothing."""

    def __init__(self, pace: PollIntervals, vendor: Vendor) -> None:
        self._pace, self._vendor = pace, vendor
        arguments = ["--period-s", str(pace.period_s), "--vendor", vendor]
        if drm := os.environ.get(ENV_DRM):
            arguments += ["--drm", drm]
        self._command = _trainwarden.child_command("monitor.daemon.hardware", *arguments)
        self._process: Process | None = None

    async def listen(self, hear: Callable[[tuple[Device, ...]], bool]) -> None:
        """Start the child and hand each reading to `hear` until that returns False, then end it.

        Raises ProbeFailed for a child that is absent, hangs, dies or babbles; it is ended first.
        """
        if self._process and self._process.returncode is None:
            raise ProbeFailed(f"process {self._process.pid}, which hangs in the driver, can't be ended", hangs=True)
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, cwd="/", limit=LINE_BYTES_MAX,
            start_new_session=True,
        )  # fmt: skip
        self._process = process
        try:
            while hear(await self._reading(process)):
                continue
        finally:
            ending = asyncio.ensure_future(_end(process))
            try:
                await asyncio.shield(ending)
            finally:
                await ending  # a daemon that leaves meanwhile sees it through: it takes seconds at most

    async def _reading(self, process: Process) -> tuple[Device, ...]:
        assert process.stdout is not None
        reader = self._vendor.reader
        try:
            with anyio.fail_after(self._pace.deadline_s):
                raw = await process.stdout.readline()
        except TimeoutError:
            raise ProbeFailed(f"{reader} did not answer for {self._pace.deadline_s:g} s", hangs=True) from None
        except ValueError:
            raise ProbeFailed(f"the reader of {reader} said more than {LINE_BYTES_MAX} bytes in one line") from None
        if not raw:
            await _end(process)
            raise ProbeFailed(f"the reader of {reader} died ({_how(process)})")
        try:
            line = msgspec.json.decode(raw, type=ProbeLine)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProbeFailed(f"the reader of {reader} said what can't be read: {error}") from error
        if line.absent or line.error:
            raise ProbeFailed(f"{reader} can't be used: {line.absent or line.error}", absent=bool(line.absent))
        return line.devices


async def _end(process: Process) -> None:
    """SIGKILL comes last: it has been seen to freeze a GPU. One that hangs in the kernel outlives both."""
    with anyio.move_on_after(0.1):  # after its last line it leaves by itself
        await process.wait()
    for stop in (process.terminate, process.kill):
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it has just gone
                stop()
            with anyio.move_on_after(ENDING_S):  # the next action, or it is left alone
                await process.wait()


def _how(process: Process) -> str:
    code = process.returncode
    if code is None:
        return "it closed its output and stayed"
    return f"signal {-code}" if code < 0 else f"exit status {code}"
