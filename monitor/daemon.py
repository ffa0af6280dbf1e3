"""The daemon's process: takes the locks, puts the parts together, runs them in one loop, leaves in order. An edge file."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import logging.handlers
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from alerts.deliver import Deliverer
from alerts.outbox import OutboxRow, Settled
from monitor import metrics, recovery
from monitor.api import server
from monitor.api.bodies import Health
from monitor.api.routes import Api, application
from monitor.clock import SystemClock
from monitor.core import Core
from monitor.effects import Effects
from monitor.errors import EXIT_SOFTWARE, DaemonError
from monitor.history.recall import FILE_NAME, Recalled, open_history
from monitor.history.store import Store
from monitor.ingest.listener import Listener
from monitor.model import AlertSettled, Effect, Tick
from monitor.pipeline import Pipeline
from monitor.processes import Processes
from monitor.receivers import Receivers
from monitor.singleton import only_daemon
from trainer_hooks.wire import runfolder
from trainer_hooks.wire.messages import Order

TICK_S = 0.25  # while a run is live
IDLE_TICK_S = 15.0  # ended runs leave after their retention
LOG_BYTES_MAX, LOG_FILES = 5_000_000, 2
RESTART_S = 1.0  # before a part that failed is started again
EFFECTS_LEFT_S = 2.0  # for effects under way when the daemon leaves; the rest is done at the next start

log = logging.getLogger("trainwarden.daemon")


class DaemonOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a daemon is started."""

    port: int = 9469
    detached: bool = False  # started by `run`: takes another port where this is taken, logs to a file, leaves when idle
    idle_exit_s: float = 900.0  # a detached daemon leaves this long after its last run ended


class Endpoint(msgspec.Struct, frozen=True):
    """<runtime folder>/daemon.json: where the daemon answers."""

    pid: int
    port: int
    version: str
    started_s: float


def main(options: DaemonOptions) -> int:
    """Run the daemon until it is told to leave. Returns the exit code; what a person must know goes to stderr."""
    try:
        with only_daemon() as runtime, _port(options) as port:
            _log_to(runfolder.state_home() / "daemon.log" if options.detached else None)
            return asyncio.run(_Daemon(options, runtime, port).run())
    except (DaemonError, runfolder.RunFolderError) as error:
        sys.stderr.write(f"trainwarden: {error}\n")
        return error.exit_code if isinstance(error, DaemonError) else EXIT_SOFTWARE


@contextlib.contextmanager
def _port(options: DaemonOptions) -> Iterator[socket.socket]:
    with contextlib.closing(server.bind_port(options.port, or_another=options.detached)) as bound:
        yield bound


def _log_to(path: Path | None) -> None:
    """Everything of ours to the file, or to the terminal. The file is bounded: nobody watches it."""
    handler: logging.Handler = logging.StreamHandler()
    if path:
        handler = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES_MAX, backupCount=LOG_FILES - 1)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in ("trainwarden", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO if name == "trainwarden" else logging.WARNING)


class _Daemon:
    """The parts, wired. One object a process."""

    def __init__(self, options: DaemonOptions, runtime: Path, port: socket.socket) -> None:
        self._options, self._runtime, self._tcp = options, runtime, port
        self._port: int = port.getsockname()[1]
        self._version = importlib.metadata.version("trainwarden")
        self._timings = metrics.Timings()
        self._receivers = Receivers()
        self._leave = asyncio.Event()
        self._failed: BaseException | None = None
        self._order_sender: Callable[[Order], None] = lambda _: None
        self._exit_code = 0

    async def run(self) -> int:
        """From the history to the last snapshot."""
        store, recalled = open_history(runfolder.state_home())
        with contextlib.closing(store), ThreadPoolExecutor(1, "history") as writer:
            self._clock = SystemClock(_last_known_s(recalled))
            self._started_s = self._clock.now_s()
            self._wire(store, writer, recalled)
            with Listener(runfolder.records_socket(), self._pipeline, self._receivers, self._clock) as listener:
                self._order_sender = listener.send
                self._listener = listener
                await self._live(recalled)
        return self._exit_code

    def _wire(self, store: Store, writer: ThreadPoolExecutor, recalled: Recalled) -> None:
        core = Core(recalled.fleet)
        recovery.replay(core, recalled)
        recovery.learn_receivers(core.fleet, self._receivers)
        self._histories_lost = len([t for t in recalled.troubles if "new one was begun" in t])
        self._pipeline = Pipeline(
            core, store, writer, recalled, self._clock,
            receivers=self._receivers.names,
            carry_out=lambda effect: self._effects.start(effect),
            told=lambda: self._deliverer.wake(),
            detected=self._timings.add,
        )  # fmt: skip
        self._effects = Effects(
            lambda: core.fleet, self._clock, self._pipeline.offer, self._pipeline.finish, lambda order: self._order_sender(order)
        )
        self._deliverer = Deliverer(self._pipeline.outbox, self._receivers.of, self._clock.now_s, self._on_settled)
        self._processes = Processes(lambda: core.fleet, self._clock, self._pipeline.offer, self._before_exit)
        self._api = Api(
            self._pipeline, self._receivers, self._clock, store.path, self._health, self._surroundings, self._timings
        )
        for trouble in recalled.troubles:
            log.error("%s", trouble)
            self._pipeline.say("", "critical", trouble)
