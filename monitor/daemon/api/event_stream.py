"""A stream of server-sent events. Writes to a client that may never read: every write has a time limit."""

from __future__ import annotations

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from monitor.daemon.api.live import Live, Watcher

MEDIA = "text/event-stream"
SEND_S = 2.0  # a client that takes nothing for so long is gone
KEPT_ALIVE_S = 15.0  # a comment after so long a silence finds out who is gone
RETRY_MS = 2000  # how long a browser waits before it comes back
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}  # the latter: nginx passes it on at once


class EventStream(Response):
    """Everything that the watcher is given, until the client or the daemon leaves. `first` is written before it."""

    media_type = MEDIA

    def __init__(self, live: Live, watcher: Watcher, first: bytes) -> None:
        super().__init__(None, headers=HEADERS)
        del self.headers["content-length"]
        self._live, self._watcher, self._first = live, watcher, first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._close_on_disconnect, receive)
                await self._write(send)
                group.cancel_scope.cancel()
        finally:
            self._live.leave(self._watcher)

    async def _close_on_disconnect(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._watcher.close()

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        data = b"retry: %d\n\n%s" % (RETRY_MS, self._first)
        while await self._sent(send, data):
            data = await self._watcher.next(KEPT_ALIVE_S)
            if not data and self._watcher.closed:
                await self._sent(send, b"event: closing\ndata: {}\n\n", last=True)
                return
            data = data or b": still here\n\n"

    async def _sent(self, send: Send, data: bytes, *, last: bool = False) -> bool:
        """False where the client took nothing in time, or the daemon leaves meanwhile."""
        with anyio.move_on_after(SEND_S) as self._watcher.sending:
            await send({"type": "http.response.body", "body": data, "more_body": not last})
        cancelled = self._watcher.sending.cancelled_caught
        self._watcher.sending = None
        return not cancelled
