"""The daemon's parts, put together and run in one loop, from what the history says to the last snapshot. Edge file."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from starlette.types import ASGIApp

from alerts.deliver import Deliverer
from alerts.outbox import OutboxRow, Settled
from monitor.core.engine import Core
from monitor.core.format import plural
from monitor.core.model import AlertSettled, Tick
from monitor.core.model.channel import Health
from monitor.core.state.run import Fleet, RunState
from monitor.daemon import catch_up
from monitor.daemon.alert_clock import run_clock
from monitor.daemon.alert_flow import AlertFlow
from monitor.daemon.api import server
from monitor.daemon.api.endpoint import Door, application
from monitor.daemon.api.guard import Guard
from monitor.daemon.api.live import Live
from monitor.daemon.api.metrics_port import MetricsPort, metrics_application
from monitor.daemon.api.openapi import with_document
from monitor.daemon.api.page_files import PageFiles
from monitor.daemon.api.page_links import PageLinks
from monitor.daemon.api.routes import Api
from monitor.daemon.api.sessions import Keys, Names, Sessions
from monitor.daemon.api.token import READ_TOKEN_NAME, token_in
from monitor.daemon.carry_out import Effects
from monitor.daemon.clock import SystemClock
from monitor.daemon.hardware.poll import Hardware
from monitor.daemon.heartbeat import Heartbeats
from monitor.daemon.ingest.listener import Listener
from monitor.daemon.kubeflow import Kubeflow
from monitor.daemon.metrics import exposition
from monitor.daemon.metrics.histograms import Timings
from monitor.daemon.missed_runs import MISSED, missed_runs
from monitor.daemon.pipeline import Pipeline
from monitor.daemon.processes import Processes
from monitor.daemon.receivers import Receivers
from monitor.daemon.systemd import Systemd
from monitor.errors import EXIT_SOFTWARE
from monitor.history.recall import Recalled, open_history
from trainer_hooks.wire import document_io, runfolder

TICK_S = 0.25  # while a run is live
ASLEEP_S = 5.0  # a longer gap between two ticks: the machine was suspended, or this process was stopped
IDLE_TICK_S = 15.0  # ended runs leave the state after their retention
RESTART_S = 1.0  # before a part that failed is started again
EFFECTS_LEFT_S = 2.0  # for effects that have begun when the daemon leaves; the rest is carried out at the next start
TROUBLES_MAX = 20  # sentences about what could not be read at the start; a damaged disk has thousands
SERVERS_LEFT_S = 3.0  # for requests that have begun

log = logging.getLogger("trainwarden.daemon")


class DaemonAddress(msgspec.Struct, frozen=True):
    """<runtime folder>/daemon.json: where the daemon answers."""

    pid: int
    port: int
    version: str
    started_s: float


def most_of(troubles: list[str]) -> list[str]:
    """As many as a person reads, and how many more there are."""
    more = len(troubles) - TROUBLES_MAX
    return troubles if more <= 0 else [*troubles[:TROUBLES_MAX], f"{plural(more, 'more part')} could not be read"]


class Assembly:
    """One daemon. `idle_exit_s`: None, and it never leaves by itself."""

    def __init__(
        self,
        runtime: Path,
        port: socket.socket,
        idle_exit_s: float | None,
        systemd: Systemd,
        metrics: tuple[MetricsPort, socket.socket] | None = None,
    ) -> None:
        """`metrics`: a second port, bound, for /metrics alone."""
        self._runtime, self._tcp, self._idle_exit_s = runtime, port, idle_exit_s
        self._systemd, self._metrics = systemd, metrics
        self._port: int = port.getsockname()[1]
        self._version = importlib.metadata.version("trainwarden")

    async def run(self) -> int:
        """Run until a signal or idleness ends it. Returns the exit code. Raises StoreFailed without a history."""
        store, recalled = open_history(runfolder.state_home())
        with contextlib.closing(store), ThreadPoolExecutor(1, "history") as writer:
            self._clock = SystemClock(max([recalled.fleet.now_s, *(entry.now_s for entry in recalled.entries[-1:])]))
            self._started_s = self._clock.now_s()
            self._timings, self._receivers = Timings(), Receivers()
            self._core = Core(recalled.fleet)
            catch_up.replay(self._core, recalled)
            unread = self._core.check_policies() + catch_up.learn_receivers(self._core.fleet, self._receivers)
            recalled.troubles += unread
            self._set_aside = recalled.set_aside + len(unread)
            self._watched = Live(self._fleet, self._clock.now_s)
            self._flow = AlertFlow(self._fleet, self._receivers)
            self._pipeline = Pipeline(
                self._core, store, writer, recalled, self._clock,
                receivers=self._flow.names_of, alert_of=self._flow.alert_of,
                carry_out=lambda effect: self._effects.start(effect),  # noqa: PLW0108 - made after the pipeline
                alerts_stored=lambda: self._deliverer.wake(),  # noqa: PLW0108
                detected=self._timings.add, fed=self._watched.fed, lines_stored=self._watched.lines_stored,
            )  # fmt: skip
            self._make_parts(store.path, recalled)
            return await self._live(recalled)

    def _make_parts(self, history: Path, recalled: Recalled) -> None:
        pipeline, clock, receivers = self._pipeline, self._clock, self._receivers
        self._unreadable = catch_up.Unreadable(pipeline.notify)
        self._listener = Listener(runfolder.records_socket(), pipeline, receivers, clock)
        self._processes = Processes(self._fleet, clock, pipeline.offer, self._feed_missed)
        self._effects = Effects(
            self._fleet, clock, pipeline.offer, pipeline.finish, self._listener.send, self._processes.end_training
        )
        self._deliverer = Deliverer(
            pipeline.outbox, receivers.of, clock.now_s, self._on_settled,
            judge=self._flow.judge, sent=recalled.sent, live=recalled.delivered,
        )  # fmt: skip
        self._heartbeats = Heartbeats(self._fleet, receivers, clock.now_s)
        self._kubeflow = Kubeflow(self._fleet, clock.now_s, os.environ)
        self._hardware = Hardware(self._fleet, pipeline.notify, pipeline.offer)
        if clock.stepped_s:
            recalled.troubles.append(
                f"the clock was {-clock.stepped_s:.0f} s ahead when the history was written; stamps of before are wrong"
            )
            pipeline.outbox.clock_stepped(clock.stepped_s)
        self._begun_anew, self._shortened = recalled.begun_anew, recalled.shortened
        self._api = Api(
            pipeline, receivers, clock, history, self._health, self._surroundings, self._timings, self._watched
        )

    async def _live(self, recalled: Recalled) -> int:
        """Catch up, serve, and leave in the order in which nothing is lost."""
        self._leaving = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._leaving.set)
        committing = asyncio.create_task(self._pipeline.run(), name="pipeline")
        committing.add_done_callback(lambda _: self._leaving.set())
        with self._listener:
            self._catch_up(recalled)
            servers = [server.server(app) for app in self._applications()]
            sockets = [self._tcp, server.bind_unix(runfolder.control_socket())]
            if self._metrics is not None:
                wanted, bound = self._metrics
                app = metrics_application(self._api.endpoints(), wanted.token)
                servers.append(server.server(app, wanted.certificate, wanted.key))
                sockets.append(bound)
            serving = [
                asyncio.create_task(one.serve(sockets=[bound]), name=f"http {i}")
                for i, (one, bound) in enumerate(zip(servers, sockets, strict=True))
            ]
            watches = self._hardware.watches()
            alerting = (self._deliverer.run, self._heartbeats.run, self._kubeflow.run, self._raise_alerts)
            own = (self._listener.run, self._tick, self._watched.run, self._systemd.keep_alive)
            everlasting = (*own, *alerting, *watches)
            parts = [self._kept_up(part) for part in everlasting]
            self._publish()
            await self._leaving.wait()
            self._systemd.notify("STOPPING=1")
            for one in servers:
                one.should_exit = True
            self._watched.close()
            await self._pipeline.wake_readers()
            await self._end(parts, serving)
            await self._effects.settle(EFFECTS_LEFT_S)
            self._processes.close()
            self._pipeline.stop()
            await asyncio.wait([committing])
        return self._exit_code(committing)

    def _catch_up(self, recalled: Recalled) -> None:
        """First the unfinished effects of the history, then what the run folders hold."""
        for trouble in most_of(recalled.troubles):
            log.error("%s", trouble)
            self._pipeline.notify("", "critical", trouble)
        for effect in recalled.effects:
            self._effects.start(effect)
        for missed in missed_runs(self._fleet().runs, self._clock.now_s()):
            self._pipeline.offer(missed)
            self._pipeline.notify(missed.spec.run, "warning", MISSED)
        for run in catch_up.live_runs(self._fleet()):
            self._catch_up_with(run)
            for effect in catch_up.unreported_checkpoints(run, recalled.effects, self._unreadable):
                self._effects.start(effect)

    def _catch_up_with(self, run: RunState) -> None:
        catch_up.catch_up(run, self._pipeline.offer, self._unreadable)

    def _applications(self) -> list[ASGIApp]:
        keys = Keys(change=token_in(self._runtime), read=token_in(self._runtime, READ_TOKEN_NAME))
        sessions, names = Sessions(keys, self._port), Names(self._port)
        page = [*PageFiles().endpoints(), *PageLinks(sessions, names, self._port).endpoints()]
        table = [*self._api.endpoints(), *page]
        every = with_document(table, self._version)
        public = application([one for one in every if one.door != Door.LOCAL])
        return [Guard(public, every, names, keys, sessions), application(every)]

    def _publish(self) -> None:
        endpoint = DaemonAddress(os.getpid(), self._port, self._version, self._started_s)
        try:
            document_io.write(self._runtime / "daemon.json", endpoint)
        except OSError as error:  # a full disk: those that look for us ask the socket
            log.error("%s can't be written: %s", self._runtime / "daemon.json", error)  # noqa: TRY400
        self._api.ready = True
        self._systemd.notify("READY=1")
        log.info("daemon %d of %s: http://127.0.0.1:%d/metrics", os.getpid(), runfolder.state_home(), self._port)

    async def _end(self, parts: list[asyncio.Task[None]], serving: list[asyncio.Task[None]]) -> None:
        self._api.ready = False
        for part in parts:
            part.cancel()
        await asyncio.wait(parts)
        _, late = await asyncio.wait(serving, timeout=SERVERS_LEFT_S)
        for task in late:
            task.cancel()

    def _exit_code(self, committing: asyncio.Task[None]) -> int:
        if error := committing.exception():
            log.critical("the history failed: %s", error, exc_info=error)
            return EXIT_SOFTWARE
        return 0

    # --- parts that never end ---------------------------------------------------------------------------------------

    def _kept_up(self, part: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Run it for ever: one that raises is logged and started again, and the others go on."""

        async def keep() -> None:
            while True:
                try:
                    await part()
                except Exception:
                    log.exception("%s failed; it is started again", part.__qualname__)
                await asyncio.sleep(RESTART_S)

        return asyncio.create_task(keep(), name=part.__qualname__)

    async def _tick(self) -> None:
        loop_s = asyncio.get_running_loop().time
        busy_s, ticked_s, looked_s = loop_s(), float("-inf"), self._clock.now_s()
        while True:
            live, gap_s = self._runs_live(), self._gap_s(looked_s)
            looked_s = self._clock.now_s()
            if self._fleet().runs and (live or gap_s or loop_s() - ticked_s >= IDLE_TICK_S):
                self._pipeline.offer(Tick(gap_s))
                self._processes.look()
                ticked_s = loop_s()
            if live or len(self._pipeline.outbox):
                busy_s = loop_s()
            if self._idle_exit_s is not None and loop_s() - busy_s >= self._idle_exit_s:
                log.info("nothing left to do for %.0f s: leaving", self._idle_exit_s)
                self._leaving.set()
            await asyncio.sleep(TICK_S)

    async def _raise_alerts(self) -> None:
        await run_clock(self._fleet, self._receivers, self._clock.now_s, self._pipeline.raise_alert)

    def _gap_s(self, looked_s: float) -> float:
        """Seconds since the last look in which nobody looked; nearly always 0. A clock that is corrected counts too."""
        stepped_s = self._clock.follow()
        if stepped_s:
            log.warning("the wall clock has differed from ours by %.0f s for a while: its time is taken", stepped_s)
            self._pipeline.outbox.clock_stepped(stepped_s)
        gap_s = self._clock.now_s() - looked_s
        return gap_s - TICK_S if gap_s > ASLEEP_S else 0.0

    # --- what the parts ask -----------------------------------------------------------------------------------------

    def _fleet(self) -> Fleet:
        return self._core.fleet

    def _runs_live(self) -> int:
        return sum(1 for run in self._fleet().runs.values() if not run.ended and (run.alive or run.supervisor_pid))

    def _health(self) -> Health:
        return Health(self._version, os.getpid(), self._port, self._runs_live(), self._started_s)

    def _surroundings(self) -> exposition.Surroundings:
        self._timings.keep(self._fleet().runs)
        return exposition.Surroundings(
            now_s=self._clock.now_s(),
            version=self._version,
            alerts_pending=self._pipeline.outbox.pending(),
            receivers=frozenset(self._receivers.all_names()),
            histories_lost=int(self._begun_anew),
            histories_shortened=int(self._shortened),
            set_aside=self._set_aside + self._unreadable.count,
            downlinks_undelivered=self._listener.undelivered,
            hardware=self._hardware.readings(),
        )

    def _on_settled(self, row: OutboxRow, outcome: Settled) -> None:
        self._pipeline.offer(AlertSettled(row.lane, row.alert.id, row.receiver, str(outcome)))

    def _feed_missed(self, name: str) -> None:
        self._catch_up_with(self._fleet().runs[name])
