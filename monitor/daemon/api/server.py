"""Two servers over one API: everything on a Unix socket that only its user may open, and a port of the loopback.

An edge file: binds sockets. Who may do what over the port is in monitor.daemon.api.guard.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from monitor.errors import PortTaken

LOOPBACK = "127.0.0.1"
BACKLOG = 64
CONNECTIONS_MAX = 128  # with a request in progress, 50 streams of events among them; beyond it: 503
IDLE_MAX = 16  # connections that wait for a request; beyond it the oldest is closed. A browser opens six
KEEP_ALIVE_S = 5
REQUEST_DEADLINE_S = (
    10.0  # for the head of a request; uvicorn has none, and half-sent heads would use up the connections
)
SHUTDOWN_S = 2  # for requests that have begun


class TimedProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection which sends no whole request in time."""

    idle: dict[TimedProtocol, None]  # of one server: those without a whole request, the oldest first
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def handle_events(self) -> None:
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:
            self.idle.pop(self, None)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._arm()

    def shutdown(self) -> None:
        """The server leaves: a client that takes nothing any more must not hold it."""
        super().shutdown()
        if self.flow.write_paused:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.idle.pop(self, None)
        if self._deadline:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _arm(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.idle[self] = None
            while len(self.idle) > IDLE_MAX:
                oldest = next(iter(self.idle))
                del self.idle[oldest]
                oldest.transport.abort()
                self.connections.discard(oldest)  # it counts no more, though its end comes with the loop's next round
        if self._deadline:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(REQUEST_DEADLINE_S, self._give_up)

    def _give_up(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


class QuietServer(uvicorn.Server):
    """uvicorn in somebody else's loop: signals are the daemon's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server(app: ASGIApp, certificate: str = "", key: str = "") -> QuietServer:
    """A server for `serve(sockets=[...])`; set `should_exit` to end it. With a certificate (PEM) it speaks TLS."""
    config = uvicorn.Config(
        app,
        http=type("OneServersProtocol", (TimedProtocol,), {"idle": {}}),
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
        limit_concurrency=CONNECTIONS_MAX,
        backlog=BACKLOG,
        ssl_certfile=certificate or None,
        ssl_keyfile=key or None,
    )
    return QuietServer(config)


def bind_port(port: int, or_another: bool) -> socket.socket:
    """A listening socket on the loopback. Raises PortTaken where `port` is in use and another will not do."""
    try:
        return socket.create_server((LOOPBACK, port), backlog=BACKLOG)
    except OSError as error:
        if not or_another:
            raise PortTaken(port) from error
        return socket.create_server((LOOPBACK, 0), backlog=BACKLOG)


def bind_unix(path: Path) -> socket.socket:
    """A listening Unix socket that only this user may open. The caller holds the lock of its folder."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # for the process: what another thread creates meanwhile is only stricter
    try:
        bound.bind(str(path))
    finally:
        os.umask(before)
    bound.listen(BACKLOG)
    return bound
