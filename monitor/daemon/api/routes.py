"""The daemon's HTTP API. Every change is answered after it is committed; every error is one sentence of JSON."""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from alerts.secret import SecretError
from monitor import report
from monitor.core.model import GenerationExited, RunOpened
from monitor.core.model.channel import ClientInput, Health, RunAnnounced, kind_of
from monitor.core.model.curves import POINTS
from monitor.core.state.run import RunState
from monitor.daemon import run_registration
from monitor.daemon.api import snapshots
from monitor.daemon.catch_up import missed_records
from monitor.daemon.clock import Clock
from monitor.daemon.metrics import exposition
from monitor.daemon.pipeline import Pipeline
from monitor.daemon.receivers import Receivers
from monitor.history import reads
from monitor.history.curve_query import FAR, Range
from monitor.history.curve_query import curves as read_curves
from monitor.policyfile.load import PolicyFileError
from monitor.report.report_input import without_statistics
from trainer_hooks.wire.runfolder import RUN_ID, RunFolderError, run_folder

BODY_MAX = 64 * 1024  # bytes; the largest input is the stacks of one rank, 12 threads of 2,000 characters
WAIT_MAX_S = 60.0  # of a long poll
DURABLE_S = 1.0  # a scrape waits this long for the disk; a commit takes 0.05
HOLDABLE = {"GET", "HEAD"}
INPUTS: msgspec.json.Decoder[ClientInput] = msgspec.json.Decoder(ClientInput)


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
            Route(f"{run}/curves", self.curves, methods=["GET"]),
        ]

    def changes(self) -> list[Route]:
        """What changes something, or is for its user alone: on the Unix socket, in a folder only they may enter."""
        run = "/api/v1/runs/{run}"
        return [
            Route(f"{run}/inputs", self.inputs, methods=["POST"]),
            Route(f"{run}/state", self.state, methods=["GET"]),  # it holds the command line, which may hold a key
        ]

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
        run = self._run(request)
        return _json([snapshots.incident_of(training, incident) for training, incident in snapshots.incidents_of(run)])

    async def report(self, request: Request) -> Response:
        run = self._run(request)
        number = _number(request, "incident", 0)
        found = [pair for pair in snapshots.incidents_of(run) if not number or pair[1].number == number]
        if not found:
            which = f"no incident {number:.0f}" if number else "no incident"
            raise HTTPException(404, f"run {run.spec.run!r}: has {which}; GET its /incidents for the list")
        text = report.render(run, *found[-1], self._clock.now_s())
        return Response(text, media_type="text/markdown; charset=utf-8")

    async def timeline(self, request: Request) -> Response:
        run = self._run(request).spec.run
        after = _whole(request, "after", 0)
        left_s = min(_number(request, "wait_s", 0), WAIT_MAX_S)
        ends_s = asyncio.get_running_loop().time() + left_s
        while True:
            lines = await asyncio.to_thread(reads.timeline, self._history, run, after)
            left_s = ends_s - asyncio.get_running_loop().time()
            if lines or left_s <= 0 or not self.ready:
                return _json(lines)
            await self._pipeline.wait_for_timeline(left_s)

    async def state(self, request: Request) -> Response:
        """What a report is written from, in MessagePack: JSON has no NaN."""
        run = without_statistics(self._run(request))
        return Response(msgspec.msgpack.encode(run), media_type="application/msgpack")

    async def curves(self, request: Request) -> Response:
        asked = Range(
            self._run(request).spec.run,
            rank=_whole(request, "rank", 0),
            training=_whole(request, "training", 1),
            generation=_whole(request, "generation", 0) or None,
            first=_whole(request, "first", 1),
            last=_whole(request, "last", FAR),
        )
        points = _whole(request, "points", POINTS)
        return _json(await asyncio.to_thread(read_curves, self._history, asked, points))

    # --- changes ----------------------------------------------------------------------------------------------------

    async def inputs(self, request: Request) -> Response:
        """One input of the core, from the supervisor or an operator. A repeated one changes nothing."""
        name = _run_id(request)
        given = await _input(request)
        if given.run != name:
            raise HTTPException(
                400, f"{request.url.path}: the {kind_of(given)} is about run {given.run[:80]!r}; send it to that run"
            )
        if isinstance(given, RunAnnounced):
            await self._pipeline.submit(self._opened(name))
            return _json({})
        run = self._run(request)
        if isinstance(given, GenerationExited):  # first what its process could not send any more, then its exit
            for missed in missed_records(run, run_folder(name)):
                self._pipeline.offer(missed)
        await self._pipeline.submit(given)
        return _json({})

    def _opened(self, run: str) -> RunOpened:
        """What the folder of an announced run says."""
        try:
            opened, policy = run_registration.announced(run)
            self._receivers.learn(run, policy)
        except (RunFolderError, PolicyFileError, SecretError, OSError) as error:
            raise HTTPException(422, str(error)) from error
        return opened

    def _run(self, request: Request) -> RunState:
        name = _run_id(request)
        run = self._pipeline.core.fleet.runs.get(name)
        if run is None:
            raise HTTPException(404, f"run {name!r}: is not known to this daemon; GET /api/v1/runs for those that are")
        return run


def application(routes: list[Route]) -> Starlette:
    """An ASGI application whose errors are JSON sentences."""
    handlers = {HTTPException: _error, sqlite3.Error: _no_history, Exception: _failure}
    return Starlette(routes=routes, exception_handlers=handlers)


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


async def _error(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    sentence = error.detail if isinstance(error, HTTPException) else "the daemon failed"
    return Response(msgspec.json.encode({"error": sentence}), status, media_type="application/json")


async def _no_history(_: Request, error: Exception) -> Response:
    sentence = f"the history can't be read now ({error}); ask again"
    return Response(msgspec.json.encode({"error": sentence}), 503, media_type="application/json")


async def _failure(_: Request, error: Exception) -> Response:
    sentence = f"the daemon failed on this request ({type(error).__name__}); its log says more"
    return Response(msgspec.json.encode({"error": sentence}), 500, media_type="application/json")


def _run_id(request: Request) -> str:
    """The run that the path names."""
    name: str = request.path_params["run"]
    if not RUN_ID.fullmatch(name):
        raise HTTPException(
            400, f"run {name[:80]!r}: is not a run id: letters, digits, '.', '_' and '-' only, at most 64"
        )
    return name


async def _input(request: Request) -> ClientInput:
    """The body, as an input that a client may send; any other input of the core is refused like a broken one."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY_MAX:
            raise HTTPException(413, f"{request.url.path}: the body is over {BODY_MAX} bytes")
    try:
        given: ClientInput = INPUTS.decode(bytes(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HTTPException(
            400, f"{request.url.path}: the body is not an input that a client may send ({error})"
        ) from error
    return given


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
