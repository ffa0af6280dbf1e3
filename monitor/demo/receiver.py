"""A webhook receiver in the demo's own process. An edge file: one socket, one thread, ended with the `with` block."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Collection
from types import TracebackType

import msgspec
from typing_extensions import Self

BODY_BYTES_MAX = 1 << 20  # an alert is about 1 kB; a longer one is refused and counted, like one that is no alert


class Received(msgspec.Struct, frozen=True):
    """What the demo looks at of an alert; the whole body is described in alerts.notifiers.webhook."""

    type: str


class AlertReceiver:
    """Answers 204 to every alert that is posted to `url` and remembers what kind it was."""

    def __init__(self) -> None:
        self.refused = 0  # posts that were too long, or no alerts
        self._kinds: list[str] = []
        self._arrived = threading.Condition()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, name="demo-receiver", daemon=True)

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self._server.server_port}/alerts"

    def take(self, body: bytes) -> None:
        """Remember an alert. Raises msgspec.DecodeError for a body that is not an alert."""
        kind = msgspec.json.decode(body, type=Received).type
        with self._arrived:
            self._kinds.append(kind)
            self._arrived.notify_all()

    def refuse(self) -> None:
        """Count a post that was not taken."""
        with self._arrived:
            self.refused += 1

    def kinds(self, awaited: Collection[str] = (), timeout_s: float = 0.0) -> tuple[str, ...]:
        """What has arrived, in order; waits until every kind of `awaited` is there or the time is up."""
        with self._arrived:
            self._arrived.wait_for(lambda: set(awaited) <= set(self._kinds), timeout_s)
            return tuple(self._kinds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(receiver: AlertReceiver) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(self._answer())
            self.end_headers()

        def _answer(self) -> http.HTTPStatus:
            try:
                size = int(self.headers.get("Content-Length", 0))
                if size > BODY_BYTES_MAX:
                    receiver.refuse()
                    return http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE
                receiver.take(self.rfile.read(max(size, 0)))
            except (msgspec.DecodeError, ValueError):
                receiver.refuse()
                return http.HTTPStatus.BAD_REQUEST
            return http.HTTPStatus.NO_CONTENT

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            """Print nothing: the terminal belongs to the training."""

    return Handler
