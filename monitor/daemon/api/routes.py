"""The daemon's HTTP API. Every change is answered after it is committed; every error is one sentence of JSON."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import anyio
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from alerts.secret import SecretError
from monitor import report
from monitor.core.model import (
    CommandGiven,
    GenerationExited,
    GenerationStarted,
    Input,
    ReceiptFound,
    RunEnded,
    StacksTaken,
    SupervisorChanged,
)
from monitor.core.model.curves import POINTS
from monitor.core.state.run import RunState
from monitor.daemon import run_registration
from monitor.daemon.api import bodies, snapshots
from monitor.daemon.catch_up import missed_events
from monitor.daemon.clock import Clock
from monitor.daemon.metrics import exposition
from monitor.daemon.pipeline import Pipeline
from monitor.daemon.receivers import Receivers
from monitor.history import reads
from monitor.history.curve_query import FAR, Range
from monitor.history.curve_query import curves as read_curves
from monitor.policyfile.load import PolicyFileError
from monitor.report.report_input import without_statistics
from trainer_hooks.wire.runfolder import RUN_ID, Receipt, RunFolderError, run_folder

BODY_MAX = 64 * 1024  # bytes; the largest body is a receipt with every setting read back, a few kB
WAIT_MAX_S = 60.0  # of a long poll
DURABLE_S = 1.0  # a scrape waits this long for the disk; a commit takes 0.05
HOLDABLE = {"GET", "HEAD"}

Handler = Callable[[Request], Awaitable[Response]]
Body = TypeVar("Body")


class Api:
    """The handlers, over the pipeline they read from and feed. `port` is the one of /metrics."""

    def __init__(
        self,
        pipeline: Pipeline,
        receivers: Receivers,
        clock: Clock,
        history: Path,
        health: Callable[[], bodies.Health],
        surroundings: Callable[[], exposition.Surroundings],
        timings: exposition.Timings,
    ) -> None:
        self._pipeline, self._receivers, self._clock, self._history = pipeline, receivers, clock, history
        self._health, self._surroundings, self._timings = health, surroundings, timings
        self.ready = False

    def reads(self) -> list[Route]:
        """What changes nothing: on the Unix socket and on the port."""
        run = "/api/v1/runs/{run}"
        return [
            Route("/metrics", self.metrics),
            Route("/-/healthy", self.healthy),
            Route("/-/ready", self.is_ready),
            Route("/api/v1/health", self.health),
            Route("/api/v1/runs", self.runs, methods=["GET"]),
            Route(run, self.detail, methods=["GET"]),
            Route(f"{run}/checkpoints", self.checkpoints, methods=["GET"]),
            Route(f"{run}/incidents", self.incidents, methods=["GET"]),
            Route(f"{run}/report", self.report, methods=["GET"]),
            Route(f"{run}/timeline", self.timeline, methods=["GET"]),
            Route(f"{run}/samples", self.samples, methods=["GET"]),
            Route(f"{run}/curves", self.curves, methods=["GET"]),
        ]

    def changes(self) -> list[Route]:
        """What changes something, or is for its user alone: on the Unix socket, in a folder only they may enter."""
        run = "/api/v1/runs/{run}"
        told: dict[str, Handler] = {
            "generation-started": self._change(bodies.Started, _started),
            "generation-exited": self.exited,
            "receipt": self._change(Receipt, ReceiptFound),
            "ended": self._change(bodies.Ended, lambda name, ended: RunEnded(name, ended.how, ended.detail)),
            "supervisor": self._change(
                bodies.Shim, lambda name, supervisor: SupervisorChanged(name, supervisor.supervisor_pid)
            ),
            "stacks": self._change(bodies.Stacks, lambda name, s: StacksTaken(name, s.generation, s.rank, s.seen)),
            "stop": self._change(bodies.Command, lambda name, command: CommandGiven(name, "stop", command.by)),
            "rollback": self._change(bodies.Command, lambda name, command: CommandGiven(name, "rollback", command.by)),
        }
        routes = [Route(f"{run}/{what}", handler, methods=["POST"]) for what, handler in told.items()]
        state = Route(f"{run}/state", self.state, methods=["GET"])  # it holds the command line, which may hold a key
        return [Route("/api/v1/runs", self.open, methods=["POST"]), state, *routes]

    # --- reads ------------------------------------------------------------------------------------------------------

    async def metrics(self, request: Request) -> Response:
        """As it is on disk: a value that a kill could take back would be a counter's reset at the next scrape."""
        collected = exposition.collect(self._pipeline.core.fleet, self._surroundings(), self._timings)
        with anyio.move_on_after(DURABLE_S):  # a full disk: then the values in memory are better than none
            await self._pipeline.committed()
        data, kind = await asyncio.to_thread(exposition.render, collected, request.headers.get("accept", ""))
        return Response(data, media_type=kind)

    async def healthy(self, _: Request) -> Response:
        return PlainTextResponse("trainwarden is healthy\n")

    async def is_ready(self, _: Request) -> Response:
        return PlainTextResponse("ready\n" if self.ready else "starting\n", 200 if self.ready else 503)

    async def health(self, _: Request) -> Response:
        return _json(self._health())

    async def runs(self, _: Request) -> Response:
        return _json([snapshots.run_summary_of(run) for run in self._pipeline.core.fleet.runs.values()])

    async def detail(self, request: Request) -> Response:
        return _json(snapshots.detail_of(self._run(request), self._clock.now_s(), self._health().port))

    async def checkpoints(self, request: Request) -> Response:
        return _json(snapshots.checkpoints_of(self._run(request)))

    async def incidents(self, request: Request) -> Response:
        return _json([snapshots.incident_of(incident) for incident in self._run(request).incidents])

    async def report(self, request: Request) -> Response:
        run = self._run(request)
        number = _number(request, "incident", 0)
        found = [i for i in run.incidents if not number or i.number == number]
        if not found:
            which = f"no incident {number:.0f}" if number else "no incident"
            raise HTTPException(404, f"run {run.spec.run!r}: has {which}; GET its /incidents for the list")
        return Response(report.render(run, found[-1], self._clock.now_s()), media_type="text/markdown; charset=utf-8")

    async def timeline(self, request: Request) -> Response:
        run = self._run(request).spec.run
        after = int(_number(request, "after", 0))
        left_s = min(_number(request, "wait_s", 0), WAIT_MAX_S)
        ends_s = self._clock.now_s() + left_s
        while True:
            lines = await asyncio.to_thread(reads.timeline, self._history, run, after)
            left_s = ends_s - self._clock.now_s()
            if lines or left_s <= 0 or not self.ready:
                return _json(lines)
            await self._pipeline.wait_for_timeline(left_s)

    async def samples(self, request: Request) -> Response:
        run = self._run(request).spec.run
        from_s, to_s = _number(request, "from", 0), _number(request, "to", 1e12)
        rank, buckets = int(_number(request, "rank", 0)), int(_number(request, "buckets", 500))
        return _json(await asyncio.to_thread(reads.samples, self._history, run, rank, from_s, to_s, buckets))

    async def state(self, request: Request) -> Response:
        """What a report is written from, in MessagePack: JSON has no NaN."""
        run = without_statistics(self._run(request))
        return Response(msgspec.msgpack.encode(run), media_type="application/msgpack")

    async def curves(self, request: Request) -> Response:
        asked = Range(
            self._run(request).spec.run,
            rank=_whole(request, "rank", 0),
            generation=_whole(request, "generation", 0) or None,
            first=_whole(request, "first", 1),
            last=_whole(request, "last", FAR),
        )
        points = _whole(request, "points", POINTS)
        return _json(await asyncio.to_thread(read_curves, self._history, asked, points))

    # --- changes ----------------------------------------------------------------------------------------------------

    async def open(self, request: Request) -> Response:
        asked = await _body(request, bodies.Open)
        try:
            opened, policy = run_registration.announced(asked.run)
            self._receivers.learn(asked.run, policy)
        except (RunFolderError, PolicyFileError, SecretError, OSError) as error:
            raise HTTPException(422, str(error)) from error
        await self._pipeline.submit(opened)
        return _json({})

    async def exited(self, request: Request) -> Response:
        """The process is gone: first what it could no longer send, then its exit."""
        run = self._run(request)
        told = await _body(request, bodies.Exited)
        for missed in missed_events(run, run_folder(run.spec.run)):
            self._pipeline.offer(missed)
        await self._pipeline.submit(GenerationExited(run.spec.run, told.exit, told.relaunch))
        return _json({})

    def _change(self, kind: type[Body], make: Callable[[str, Body], Input]) -> Handler:
        async def change(request: Request) -> Response:
            run = self._run(request)
            await self._pipeline.submit(make(run.spec.run, await _body(request, kind)))
            return _json({})

        return change

    def _run(self, request: Request) -> RunState:
        name = request.path_params["run"]
        if not RUN_ID.fullmatch(name):
            raise HTTPException(
                400, f"run {name[:80]!r}: is not a run id: letters, digits, '.', '_' and '-' only, at most 64"
            )
        run = self._pipeline.core.fleet.runs.get(name)
        if run is None:
            raise HTTPException(404, f"run {name!r}: is not known to this daemon; GET /api/v1/runs for those that are")
        return run


def application(routes: list[Route]) -> Starlette:
    """An ASGI application whose errors are JSON sentences."""
    return Starlette(routes=routes, exception_handlers={HTTPException: _error, Exception: _failure})


def _started(name: str, body: bodies.Started) -> GenerationStarted:
    return GenerationStarted(name, body.number, body.nonce, body.pid, body.supervisor_pid)


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


async def _error(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    sentence = error.detail if isinstance(error, HTTPException) else "the daemon failed"
    return Response(msgspec.json.encode({"error": sentence}), status, media_type="application/json")


async def _failure(_: Request, error: Exception) -> Response:
    sentence = f"the daemon failed on this request ({type(error).__name__}); its log says more"
    return Response(msgspec.json.encode({"error": sentence}), 500, media_type="application/json")


async def _body(request: Request, kind: type[Body]) -> Body:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY_MAX:
            raise HTTPException(413, f"{request.url.path}: the body is over {BODY_MAX} bytes")
    try:
        return msgspec.json.decode(bytes(data) or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HTTPException(400, f"{request.url.path}: the body is not a {kind.__name__} ({error})") from error


def _number(request: Request, name: str, default: float) -> float:
    text = request.query_params.get(name, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise HTTPException(400, f"{name}={text[:40]!r}: must be a number, 0 or more")
    return value


def _whole(request: Request, name: str, default: int) -> int:
    """As `_number`, without its fraction, and no larger than SQLite takes."""
    return int(min(_number(request, name, default), FAR))
