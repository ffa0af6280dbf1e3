"""The daemon's HTTP API: its table of routes and their handlers. Every change is answered after it is committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import anyio
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from alerts.secret import SecretError
from monitor import report
from monitor.core.model import CommandGiven, GenerationDied, GenerationExited, RunOpened
from monitor.core.model.channel import ClientInput, Health, RunAnnounced, TimelineLine, kind_of
from monitor.core.model.curves import POINTS, ChartColumns, Curves
from monitor.core.state.run import RunState
from monitor.daemon import run_registration
from monitor.daemon.api import event_stream, glance, run_orders, snapshots, training_detail
from monitor.daemon.api.alert_routes import AlertRoutes
from monitor.daemon.api.endpoint import FAR, Door, Endpoint, NoQuery, Page, Whole
from monitor.daemon.api.event_stream import EventStream
from monitor.daemon.api.live import Live, frame
from monitor.daemon.api.run_orders import OrderAsked
from monitor.daemon.catch_up import missed_records
from monitor.daemon.clock import Clock
from monitor.daemon.metrics import exposition
from monitor.daemon.metrics.histograms import Timings
from monitor.daemon.pipeline import Pipeline
from monitor.daemon.receivers import Receivers
from monitor.history import chart_query, reads
from monitor.history.curve_query import Range
from monitor.history.curve_query import curves as read_curves
from monitor.history.transaction_rows import curve_key
from monitor.policyfile.load import PolicyFileError
from monitor.report.report_input import without_statistics
from trainer_hooks.wire.document_io import RunFolderError
from trainer_hooks.wire.runfolder import RUN_ID, run_folder

WAIT_MAX_S = 60.0  # of a long poll
DURABLE_S = 1.0  # a scrape waits this long for the disk; a commit takes some milliseconds
MARKDOWN = "text/markdown; charset=utf-8"
MSGPACK = "application/msgpack"
TEXT = "text/plain; charset=utf-8"


class IncidentQuery(NoQuery, frozen=True):
    """Which incident of the run: by its number, from 1. 0: the newest."""

    incident: Whole = 0


class TimelineQuery(NoQuery, frozen=True):
    """The lines behind line `after`; where there are none yet, wait for them up to `wait_s` seconds."""

    after: Whole = 0
    wait_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class CurvesQuery(NoQuery, frozen=True):
    """Batches `first` to `last` of a generation (0: of each) of one rank of a training, in about `points` stretches."""

    rank: Whole = 0
    training: Whole = 1
    generation: Whole = 0
    first: Whole = 1
    last: Whole = FAR
    points: Whole = POINTS

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"the range ends before it begins: `last` must be `first` ({self.first}) or more")

    def range_of(self, run: str) -> Range:
        """The same, of a run."""
        return Range(run, self.rank, self.training, self.generation or None, self.first, self.last)


class ChartQuery(CurvesQuery, frozen=True):
    """As for curves; `signals`: the names of those that are wanted, with commas between them. Empty: all."""

    signals: str = ""


class EventsQuery(NoQuery, frozen=True):
    """Whose new batches are wanted (empty run: nobody's), and the lines of the timeline behind which (0: new ones)."""

    run: str = ""
    training: Whole = 1
    rank: Whole = 0
    after: Whole = 0


class Api:
    """The handlers, over the pipeline they read from and feed. `port` is the one of /metrics."""

    def __init__(
        self,
        pipeline: Pipeline,
        receivers: Receivers,
        clock: Clock,
        history: Path,
        health: Callable[[], Health],
        surroundings: Callable[[], exposition.Surroundings],
        timings: Timings,
        live: Live,
    ) -> None:
        self._pipeline, self._receivers, self._clock, self._history = pipeline, receivers, clock, history
        self._health, self._surroundings, self._timings, self._live = health, surroundings, timings, live
        self.ready = False

    def endpoints(self) -> list[Endpoint]:
        """The table of routes: everything else about them is made from it."""
        run = "/api/v1/runs/{run}"
        return [
            Endpoint(Door.OPEN, "GET", "/metrics", self.metrics, TEXT),
            Endpoint(Door.OPEN, "GET", "/-/healthy", self.healthy, TEXT),
            Endpoint(Door.OPEN, "GET", "/-/ready", self.is_ready, TEXT),
            Endpoint(Door.READ, "GET", "/api/v1/health", self.health),
            Endpoint(Door.READ, "GET", "/api/v1/overview", self.overview),
            Endpoint(Door.READ, "GET", "/api/v1/events", self.events, event_stream.MEDIA),
            Endpoint(Door.READ, "GET", "/api/v1/runs", self.runs),
            Endpoint(Door.READ, "GET", run, self.detail),
            Endpoint(Door.READ, "GET", f"{run}/trainings", self.trainings),
            Endpoint(Door.READ, "GET", f"{run}/trainings/{{training}}", self.training),
            Endpoint(Door.READ, "GET", f"{run}/checkpoints", self.checkpoints),
            Endpoint(Door.READ, "GET", f"{run}/incidents", self.incidents),
            Endpoint(Door.READ, "GET", f"{run}/report", self.report, MARKDOWN),
            Endpoint(Door.READ, "GET", f"{run}/timeline", self.timeline),
            Endpoint(Door.READ, "GET", f"{run}/curves", self.curves),
            Endpoint(Door.READ, "GET", f"{run}/chart", self.chart),
            Endpoint(Door.READ, "GET", f"{run}/orders", self.orders),
            Endpoint(Door.CHANGE, "POST", f"{run}/orders", self.order),
            Endpoint(Door.LOCAL, "GET", f"{run}/state", self.state, MSGPACK),  # its command line may hold a key
            Endpoint(Door.LOCAL, "POST", f"{run}/inputs", self.inputs),
            *AlertRoutes(self._pipeline, self._clock).endpoints(),
        ]

    # --- reads ------------------------------------------------------------------------------------------------------

    async def metrics(self, request: Request) -> Response:
        """Prometheus metrics of every run and of the daemon.

        As they are on disk: a value that a kill could take back would be a counter's reset at the next scrape.
        """
        collected = exposition.collect(self._pipeline.core.fleet, self._surroundings(), self._timings)
        with anyio.move_on_after(DURABLE_S):  # a full disk: then the values in memory are better than none
            await self._pipeline.committed_at_once()
        accepted = request.headers.get("accept", ""), request.headers.get("accept-encoding", "")
        data, headers = await asyncio.to_thread(exposition.render, collected, *accepted)
        return Response(data, headers=headers)

    async def healthy(self, _: Request) -> Response:
        """The daemon's loop runs."""
        return PlainTextResponse("trainwarden is healthy\n")

    async def is_ready(self, _: Request) -> Response:
        """The daemon has read its history; 503 before that."""
        return PlainTextResponse("ready\n" if self.ready else "starting\n", 200 if self.ready else 503)

    async def health(self, _: Request) -> Health:
        """Which daemon answers."""
        return self._health()

    async def overview(self, _: Request, asked: Page) -> list[glance.RunGlance]:
        """Every run at a glance."""
        return [glance.glance_of(run, self._clock.now_s()) for run in self._pipeline.core.fleet.runs.values()]

    async def events(self, request: Request, asked: EventsQuery) -> Response:
        """Server-sent events: runs, incidents, lines of the timeline, and the new batches of one training."""
        if asked.run:
            self._run_named(asked.run)
        watcher = self._live.watch(curve_key(asked.run, asked.training) if asked.run else "", asked.rank)
        if watcher is None:
            raise HTTPException(503, "too many streams are open, or the daemon leaves; ask again", {"retry-after": "5"})
        first = frame("hello", self._health())
        try:
            if after := _last_event(request) or asked.after:
                lines = await asyncio.to_thread(reads.timeline, self._history, asked.run, after)
                first += b"".join(frame("timeline", line, line.n) for line in lines)
        except BaseException:
            self._live.leave(watcher)
            raise
        return EventStream(self._live, watcher, first)

    async def runs(self, _: Request, asked: Page) -> list[snapshots.RunSummary]:
        """Every run in a line."""
        return [snapshots.run_summary_of(run) for run in self._pipeline.core.fleet.runs.values()]

    async def detail(self, request: Request) -> snapshots.RunDetail:
        """Everything of a run but its lists."""
        run = self._run(request)
        waiting = self._pipeline.outbox.pending().get(run.spec.run, 0)
        return snapshots.detail_of(run, self._clock.now_s(), self._health().port, waiting)

    async def trainings(self, request: Request, asked: Page) -> list[snapshots.TrainingLine]:
        """The trainings of a run, by number."""
        return list(snapshots.trainings_of(self._run(request)))

    async def training(self, request: Request) -> training_detail.TrainingDetail:
        """One training: its generations, what is marked on its charts, its settings."""
        run, number = self._run(request), request.path_params["training"]
        found = [each for each in run.trainings.values() if str(each.number) == number]
        if not found:
            raise HTTPException(404, f"training {number[:20]!r}: is none of run {run.spec.run!r}; GET its /trainings")
        return training_detail.training_detail_of(found[0])

    async def checkpoints(self, request: Request, asked: Page) -> list[snapshots.CheckpointLine]:
        """Every checkpoint of a run, and whether it may be trusted."""
        return snapshots.checkpoints_of(self._run(request))

    async def incidents(self, request: Request, asked: Page) -> list[snapshots.IncidentSummary]:
        """Every incident of a run, by number."""
        run = self._run(request)
        return [snapshots.incident_of(training, incident) for training, incident in snapshots.incidents_of(run)]

    async def report(self, request: Request, asked: IncidentQuery) -> Response:
        """The report of one incident, in Markdown."""
        run, number = self._run(request), asked.incident
        found = [pair for pair in snapshots.incidents_of(run) if not number or pair[1].number == number]
        if not found:
            which = f"no incident {number}" if number else "no incident"
            raise HTTPException(404, f"run {run.spec.run!r}: has {which}; GET its /incidents for the list")
        text = report.render(run, *found[-1], self._clock.now_s())
        return Response(text, media_type=MARKDOWN)

    async def timeline(self, request: Request, asked: TimelineQuery) -> list[TimelineLine]:
        """What happened, line by line."""
        run = self._run(request).spec.run
        loop_s = asyncio.get_running_loop().time
        ends_s = loop_s() + min(asked.wait_s, WAIT_MAX_S)
        while True:
            lines = await asyncio.to_thread(reads.timeline, self._history, run, asked.after)
            left_s = ends_s - loop_s()
            if lines or left_s <= 0 or not self.ready:
                return lines
            await self._pipeline.wait_for_timeline(left_s)

    async def curves(self, request: Request, asked: CurvesQuery) -> Curves:
        """The recorded signals, exactly, as points; a report is drawn from it."""
        wanted = asked.range_of(self._run(request).spec.run)
        return await asyncio.to_thread(read_curves, self._history, wanted, asked.points)

    async def chart(self, request: Request, asked: ChartQuery) -> ChartColumns:
        """The recorded signals in columns over one axis, with six digits; a chart is drawn from it."""
        wanted = asked.range_of(self._run(request).spec.run)
        names = tuple(name for name in asked.signals.split(",") if name)
        return await asyncio.to_thread(chart_query.chart, self._history, wanted, asked.points, names)

    async def orders(self, request: Request, asked: Page) -> list[run_orders.OrderLine]:
        """The orders to a run that are not answered yet; the timeline has the others."""
        return run_orders.pending_of(self._run(request))

    async def state(self, request: Request) -> Response:
        """What a report is written from, in MessagePack: JSON has no NaN."""
        run = without_statistics(self._run(request))
        return Response(msgspec.msgpack.encode(run), media_type=MSGPACK)

    # --- changes ----------------------------------------------------------------------------------------------------

    async def inputs(self, request: Request, given: ClientInput) -> dict[str, str]:
        """One input of the core, from the supervisor or an operator. A repeated one changes nothing."""
        name = _run_id(request.path_params["run"])
        if given.run != name:
            raise HTTPException(
                400, f"{request.url.path}: the {kind_of(given)} is about run {given.run[:80]!r}; send it to that run"
            )
        if isinstance(given, RunAnnounced):
            await self._pipeline.submit(self._opened(name))
            return {}
        run = self._run(request)
        if isinstance(given, GenerationExited | GenerationDied):  # first what its process could not send any more
            for missed in missed_records(run, run_folder(name)):
                self._pipeline.offer(missed)
        await self._pipeline.submit(given)
        return {}

    async def order(self, request: Request, given: OrderAsked) -> dict[str, str]:
        """Order a run to stop, to go back to its newest clean checkpoint, or to change settings. It is done later."""
        run = self._run(request)
        if why := run_orders.refusal(snapshots.run_summary_of(run), given.kind, snapshots.kept_checkpoints(run)):
            raise HTTPException(409, why)
        await self._pipeline.submit(CommandGiven(run.spec.run, given.kind, given.by or "somebody with the token"))
        return {}

    def _opened(self, run: str) -> RunOpened:
        """What the folder of an announced run says."""
        try:
            opened, policy = run_registration.announced(run, known=run in self._pipeline.core.fleet.runs)
            self._receivers.learn(run, policy)
        except (RunFolderError, PolicyFileError, SecretError, OSError) as error:
            raise HTTPException(422, str(error)) from error
        return opened

    def _run(self, request: Request) -> RunState:
        return self._run_named(request.path_params["run"])

    def _run_named(self, name: str) -> RunState:
        run = self._pipeline.core.fleet.runs.get(_run_id(name))
        if run is None:
            raise HTTPException(404, f"run {name!r}: is not known to this daemon; GET /api/v1/runs for those that are")
        return run


def _run_id(name: str) -> str:
    """The name, where it can be that of a run."""
    if not RUN_ID.fullmatch(name):
        raise HTTPException(
            400, f"run {name[:80]!r}: is not a run id: letters, digits, '.', '_' and '-' only, at most 64"
        )
    return name


def _last_event(request: Request) -> int:
    """The line of the timeline that a browser saw last before it comes back; 0: none."""
    text = request.headers.get("last-event-id", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(FAR)) else 0
