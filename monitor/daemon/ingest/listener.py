"""The socket the hooks send to. Edge file: takes frames, sends acknowledgements and orders, reads run folders."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from pathlib import Path

import anyio
import zmq
import zmq.asyncio
from typing_extensions import Self

from monitor.core.model import FramesRefused, RecordArrived
from monitor.daemon import run_registration
from monitor.daemon.clock import Clock
from monitor.daemon.ingest.session import EventOrder, Standing, StreamKey, last_taken, standing, stream_of
from monitor.daemon.pipeline import Pipeline
from monitor.daemon.receivers import Receivers
from monitor.policyfile.load import PolicyFileError
from trainer_hooks.wire.codec import FRAME_BYTES_MAX, WireError, decode_frame, encode
from trainer_hooks.wire.document_io import RunFolderError
from trainer_hooks.wire.messages import Downlink, EventsSeen, Frame, Order, Refused, Sender
from trainer_hooks.wire.runfolder import run_folder

OUTGOING_MAX = 10_000  # messages on their way down: acks and orders of every rank of a large job
ROUTES_MAX = 4096
REFUSED_EVERY_S = 1.0
UNKNOWN_FOR_S = 0.5  # a run that could not be opened is looked up again after this; hooks repeat events each second
REFUSALS_MAX = 100  # (run, reason) pairs counted apart within one second, logged once each, and looked up at most
REASON_MAX = 300  # characters

log = logging.getLogger("trainwarden.ingest")


class Listener:
    """Takes frames from the hooks of this user's trainings. Use as a context manager around `run`."""

    def __init__(self, path: Path, pipeline: Pipeline, receivers: Receivers, clock: Clock) -> None:
        self._path, self._pipeline, self._receivers, self._clock = path, pipeline, receivers, clock
        self._order = EventOrder()
        self._routes: dict[StreamKey, bytes] = {}
        self._outgoing: asyncio.Queue[tuple[bytes, Downlink]] = asyncio.Queue(OUTGOING_MAX)
        self._refused: Counter[tuple[str, str]] = Counter()
        self._unknown_until: dict[str, float] = {}
        self._logged: set[str] = set()
        self.undelivered = 0  # downlinks without a peer; orders are asked for again

    def __enter__(self) -> Self:
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
        try:
            self._socket.bind(f"ipc://{self._path}")
        except zmq.ZMQError as error:
            self.__exit__()
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        self._path.chmod(0o600)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close(0)
        self._context.term()

    async def run(self) -> None:
        """Receive, answer and count until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._receive)
            tasks.start_soon(self._answer)
            tasks.start_soon(self._report_refusals)

    def send(self, order: Order) -> None:
        """Fire and forget: the core asks again until the order is answered."""
        route = self._routes.get(stream_of(order))
        if route is None:
            self.undelivered += 1
        else:
            self._post(route, order)

    async def _receive(self) -> None:
        while True:
            await asyncio.sleep(0)  # a flood is always ready to be received: let the other tasks run
            await self._pipeline.room()
            parts = await self._socket.recv_multipart(copy=False)
            try:
                self._take(parts)
            except Exception:
                log.exception("a frame could not be taken; the next one is")

    def _take(self, parts: list[zmq.Frame]) -> None:
        if len(parts) != 2:
            self._refuse(b"", "", f"{len(parts)} parts: a frame is one")
            return
        route = parts[0].bytes
        if not _is_ours(parts[1]):
            self._refuse(b"", "", "sent by another user")
            return
        try:
            frame = decode_frame(parts[1].bytes)
        except WireError as error:
            self._refuse(route, "", str(error))
            return
        if refusal := self._admit(frame):
            self._refuse(route, frame.sender.run, refusal)
        else:
            self._fold(route, frame)

    def _admit(self, frame: Frame) -> str:
        """Make the frame's run and generation current where the run folder bears it out. Returns why not."""
        sender = frame.sender
        runs = self._pipeline.core.fleet.runs
        found = standing(sender, runs.get(sender.run))
        try:
            if found is Standing.UNKNOWN_RUN:
                self._open(frame)
            if found in {Standing.UNKNOWN_RUN, Standing.NEWER}:
                self._pipeline.offer(run_registration.generation(sender.run, sender.generation, sender.nonce))
                found = standing(sender, runs.get(sender.run))
        except (RunFolderError, PolicyFileError) as error:
            return str(error)
        return self._not_a_rank(frame.sender) if found is Standing.CURRENT else str(found)

    def _not_a_rank(self, sender: Sender) -> str:
        """Why no rank of the training has this number. A size of 1 is also what a script sends that knows of none."""
        training = self._pipeline.core.fleet.runs[sender.run].trainings.get(sender.training)
        started = training.started if training and training.generation == sender.generation else None
        size = started.world_size if started else 0
        if sender.rank < 0 or (size > 1 and sender.rank >= size):
            return f"rank {sender.rank}: the training has {size} ranks, from 0"
        return ""

    def _open(self, frame: Frame) -> None:
        run, now_s = frame.sender.run, self._clock.now_s()
        if 0.0 < self._unknown_until.get(run, 0.0) - now_s <= UNKNOWN_FOR_S:
            raise RunFolderError(f"run {run[:64]!r}: is not known")
        if len(self._unknown_until) > REFUSALS_MAX:
            self._unknown_until.clear()
        self._unknown_until[run] = now_s + UNKNOWN_FOR_S
        if run_folder(run).spec.exists():
            opened, policy = run_registration.announced(run)
            self._receivers.learn_or_log(run, policy)
        else:
            watched = run_registration.observed(frame, now_s)
            if watched is None:
                raise RunFolderError(f"run {run!r}: is not known, and the frame does not say that a training started")
            opened = watched
        self._pipeline.offer(opened)

    def _fold(self, route: bytes, frame: Frame) -> None:
        sender = frame.sender
        self._remember(stream_of(sender), route)
        taken = last_taken(self._pipeline.core.fleet.runs[sender.run], sender.training, sender.rank)
        selected = self._order.select(frame, taken)
        for record in selected.records:
            arrived = RecordArrived(sender.run, sender.generation, sender.rank, record, training=sender.training)
            self._pipeline.offer(arrived)
        if selected.seen is not None:
            seen = EventsSeen(sender.generation, sender.rank, selected.seen, training=sender.training)
            self._pipeline.when_committed(lambda: self._post(route, seen))

    def _remember(self, key: StreamKey, route: bytes) -> None:
        self._routes.pop(key, None)
        self._routes[key] = route
        if len(self._routes) > ROUTES_MAX:
            del self._routes[next(iter(self._routes))]

    def _refuse(self, route: bytes, run: str, reason: str) -> None:
        known = run if run in self._pipeline.core.fleet.runs else ""
        crowded = len(self._refused) >= REFUSALS_MAX and (known, reason) not in self._refused
        self._refused[known, "one of many reasons" if crowded else reason[:REASON_MAX]] += 1
        if route:
            self._post(route, Refused(reason[:REASON_MAX]))

    def _post(self, route: bytes, message: Downlink) -> None:
        try:
            self._outgoing.put_nowait((route, message))
        except asyncio.QueueFull:  # acks and orders are asked for again
            self.undelivered += 1

    async def _answer(self) -> None:
        while True:
            route, message = await self._outgoing.get()
            try:
                await self._socket.send_multipart([route, encode(message)], flags=zmq.DONTWAIT)
            except (zmq.ZMQError, WireError) as error:
                self.undelivered += 1
                log.debug("%s not sent: %s", type(message).__name__, error)

    async def _report_refusals(self) -> None:
        """Once a second, one input for each run: a flood of bad frames must not become a flood of entries."""
        while True:
            await asyncio.sleep(REFUSED_EVERY_S)
            refused, self._refused = self._refused, Counter()
            counts: Counter[str] = Counter()
            for (run, reason), count in refused.items():
                counts[run] += count
                self._log_once(run, count, reason)
            for run, count in counts.items():
                if run:
                    reason = next(reason for known, reason in refused if known == run)
                    self._pipeline.offer(FramesRefused(run, count, reason))

    def _log_once(self, run: str, count: int, reason: str) -> None:
        key = f"{run}: {reason}"
        if key not in self._logged and len(self._logged) < REFUSALS_MAX:
            self._logged.add(key)
            log.warning("%d frames of %s refused: %s", count, f"run {run}" if run else "nobody we know", reason)


def _is_ours(frame: zmq.Frame) -> bool:
    """True where the kernel says that this user sent it. ZeroMQ gives "<host>:<uid>:<gid>:<pid>" over ipc."""
    try:
        address = str(frame.get("Peer-Address"))
    except zmq.ZMQError:
        return True  # this libzmq does not report it; the socket lies in a folder that only we may enter
    fields = address.split(":")
    return len(fields) != 4 or fields[1] == str(os.geteuid())
