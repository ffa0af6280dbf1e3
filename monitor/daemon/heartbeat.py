"""Calls an address outside while a training progresses: where the calls end, a service there raises the alarm.

Edge file: HTTP. A machine that freezes, a lost network, a dead daemon and a training that stands still all end them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup

from alerts.http import Http, TransportError
from alerts.secret import Secret
from monitor.core.model import Family
from monitor.core.policy.alert_settings import Heartbeat
from monitor.core.state.run import Fleet, RunState
from monitor.daemon.receivers import Receivers

LOOK_S = 1.0
TIMEOUT_S = 10.0

log = logging.getLogger("trainwarden.daemon")


class Heartbeats:
    """The heartbeats of every run."""

    def __init__(self, fleet: Callable[[], Fleet], receivers: Receivers, now_s: Callable[[], float]) -> None:
        self._fleet, self._receivers, self._now_s = fleet, receivers, now_s
        self._called_s: dict[str, float] = {}  # by run, on the loop's clock
        self._failing: set[str] = set()  # runs whose failure is in the log

    async def run(self) -> None:
        """Call when it is due, until cancelled."""
        async with Http() as http, anyio.create_task_group() as calls:
            while True:
                self._start_due(http, calls)
                await asyncio.sleep(LOOK_S)

    def _start_due(self, http: Http, calls: TaskGroup) -> None:
        loop_s = asyncio.get_running_loop().time()
        for name, run in self._fleet().runs.items():
            settings, url = self._receivers.heartbeat(name)
            if url is None or loop_s - self._called_s.get(name, float("-inf")) < settings.every_s:
                continue
            if progresses(run, settings, self._now_s()):
                self._called_s[name] = loop_s
                calls.start_soon(self._call, http, name, url)

    async def _call(self, http: Http, run: str, url: Secret) -> None:
        try:
            reply = await http.post(url, b"", {"user-agent": "trainwarden"}, TIMEOUT_S)
            problem = "" if reply.status < 300 else f"HTTP {reply.status}"
        except TransportError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - its text may hold the address; the other runs' calls go on
            problem = type(error).__name__
        if problem and run not in self._failing:
            log.warning("run %s: its heartbeat could not be sent: %s", run, problem)
        (self._failing.add if problem else self._failing.discard)(run)


def progresses(run: RunState, settings: Heartbeat, now_s: float) -> bool:
    """True where a batch, a validation or a save was seen lately, and no incident says that the training hangs."""
    if run.ended or not run.alive:
        return False
    seen_s = 0.0
    for training in run.trainings.values():
        if run.trains(training):
            if training.incident is not None and training.incident.family == Family.HANG:
                return False
            batches_s = [rank.last_batch_s or 0.0 for rank in training.ranks.values()]
            seen_s = max([seen_s, training.silence.phase_since_s, *batches_s])
    return now_s - seen_s < settings.patience_s
