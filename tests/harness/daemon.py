"""A plain HTTP server on a Unix socket that answers a supervisor as a daemon would, and keeps what it received."""

from __future__ import annotations

import contextlib
import json
import os
import socketserver
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from typing_extensions import Self

from monitor.core.model.channel import ClientInput, kind_of

T = TypeVar("T")


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    daemon: PlainDaemon


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        daemon = self.server.daemon
        if self.path == "/api/v1/health":
            self._answer(daemon.health)
        elif "/timeline?" in self.path:
            after = int(self.path.partition("after=")[2].partition("&")[0])
            daemon.more.wait(float(self.path.rpartition("wait_s=")[2]) if len(daemon.timeline) <= after else 0)
            self._answer(daemon.timeline[after:])

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/api/v1/runs/r/inputs"
        given = msgspec.convert(body, ClientInput)
        self.server.daemon.received.append(given)
        refusal = self.server.daemon.refusals.get(kind_of(given))
        self._answer({"detail": refusal} if refusal else {}, 400 if refusal else 200)

    def _answer(self, value: Any, status: int = 200) -> None:
        data = json.dumps(value).encode()
        with contextlib.suppress(BrokenPipeError):  # the client has given up
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        return


class PlainDaemon:
    """For run "r". Use as a context manager."""

    def __init__(self, home: Path, started_s: float = 1.0, refusals: dict[str, str] | None = None) -> None:
        self.received: list[ClientInput] = []
        self.timeline: list[dict[str, Any]] = []
        self.more = threading.Event()
        self.refusals = refusals or {}
        self.health = {"version": "0", "pid": os.getpid(), "port": 9999, "runs_live": 0, "started_s": started_s}
        self._path = home / "run" / "api.sock"

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._server = _Server(str(self._path), _Handler)
        self._server.daemon = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.more.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._path.unlink()

    def notify(self, text: str, severity: str = "info") -> None:
        self.timeline.append({"n": len(self.timeline) + 1, "run": "r", "at_s": 0.0, "severity": severity, "text": text})
        self.more.set()
        self.more.clear()

    @property
    def kinds(self) -> list[str]:
        """The tags of what it received, in order."""
        return [kind_of(given) for given in self.received]

    def last(self, kind: type[T]) -> T:
        """The last input of a kind that it received."""
        return [given for given in self.received if isinstance(given, kind)][-1]
