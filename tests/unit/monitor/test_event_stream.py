"""A stream to a client that takes nothing ends, and never holds the daemon."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from monitor.core.state.run import Fleet
from monitor.daemon.api import endpoint, event_stream
from monitor.daemon.api.event_stream import EventStream
from monitor.daemon.api.live import Live


class Client:
    """Takes the head of the answer and then so many writes; the next one waits for ever."""

    def __init__(self, takes: int) -> None:
        self.takes, self.bodies, self.stuck = takes, list[bytes](), asyncio.Event()

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            if len(self.bodies) >= self.takes:
                self.stuck.set()
                await asyncio.Event().wait()
            self.bodies.append(message["body"])

    async def receive(self) -> Any:
        await asyncio.Event().wait()


async def ended(live: Live, client: Client) -> asyncio.Task[None]:
    """The stream of the client, begun."""
    watcher = live.watch("", 0)
    assert watcher is not None
    stream = EventStream(live, watcher, b"event: hello\ndata: {}\n\n")
    return asyncio.create_task(stream({"type": "http"}, client.receive, client.send))


def test_a_client_that_takes_nothing_is_given_up_and_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    assert event_stream.SEND_S == 2.0
    monkeypatch.setattr(event_stream, "SEND_S", 0.05)

    async def scene() -> None:
        live, client = Live(Fleet, lambda: 1.0), Client(takes=1)
        task = await ended(live, client)
        live.publish()
        await asyncio.wait_for(task, 5.0)
        assert client.stuck.is_set()
        assert client.bodies[0].startswith(b"retry: ")
        assert live._watchers == set()

    asyncio.run(scene())


def test_when_the_daemon_leaves_a_stuck_stream_ends_at_once_and_another_says_so() -> None:
    async def scene() -> None:
        live, stuck, well = Live(Fleet, lambda: 1.0), Client(takes=0), Client(takes=99)
        tasks = [await ended(live, stuck), await ended(live, well)]
        await stuck.stuck.wait()
        began_s = time.monotonic()
        live.close()
        await asyncio.wait_for(asyncio.gather(*tasks), 5.0)
        assert time.monotonic() - began_s < 0.5
        assert well.bodies[-1] == b"event: closing\ndata: {}\n\n"
        assert stuck.bodies == []

    asyncio.run(scene())


def test_a_silent_stream_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "KEPT_ALIVE_S", 0.01)

    async def scene() -> None:
        live, client = Live(Fleet, lambda: 1.0), Client(takes=3)
        task = await ended(live, client)
        await client.stuck.wait()
        assert client.bodies[1:] == [b": still here\n\n"] * 2
        live.close()
        await asyncio.wait_for(task, 5.0)

    asyncio.run(scene())


def test_a_body_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert endpoint.BODY_S == 10.0
    monkeypatch.setattr(endpoint, "BODY_S", 0.05)
    scope = {"type": "http", "method": "POST", "path": "/x", "headers": [], "query_string": b"", "server": ("x", 1)}

    async def receive() -> Any:
        await asyncio.Event().wait()

    with pytest.raises(HTTPException) as refused:
        asyncio.run(endpoint.body_of(Request(scope, receive)))
    assert refused.value.status_code == 408
