"""The stream of server-sent events of a real daemon: how everything is, then what changes, live."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from monitor.core.model import GenerationStarted
from monitor.core.model.channel import RunAnnounced
from monitor.daemon.api.live import WATCHERS_MAX
from monitor.daemon.api.token import TOKEN_NAME
from tests.harness.real_daemon import DaemonProcess
from tests.harness.trainer import FakeTrainer, announce


class Stream:
    """The events of a stream as they come: (name, data)."""

    def __init__(self, daemon: DaemonProcess, query: str = "", headers: dict[str, str] | None = None) -> None:
        transport = httpx.HTTPTransport(uds=str(daemon.home / "run" / "api.sock"))
        self._client = httpx.Client(transport=transport, base_url="http://x", timeout=20.0)
        self._events: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._kept: defaultdict[str, deque[Any]] = defaultdict(deque)
        self.headers: httpx.Headers | None = None
        self._path, self._sent = f"/api/v1/events{query}", headers
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        name = ""
        with (
            contextlib.suppress(httpx.TransportError),
            self._client.stream("GET", self._path, headers=self._sent) as answer,
        ):
            self.headers = answer.headers
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    self._events.put((name, msgspec.json.decode(line.removeprefix("data: "))))

    def until(self, name: str, within_s: float = 10.0) -> Any:
        """The data of the next event of that name. Those of other names are kept."""
        ends_s = time.monotonic() + within_s
        while not self._kept[name]:
            found, data = self._events.get(timeout=max(0.01, ends_s - time.monotonic()))
            self._kept[found].append(data)
        return self._kept[name].popleft()


@pytest.fixture
def night(daemon: DaemonProcess) -> Iterator[FakeTrainer]:
    announce(daemon.home, "night")
    daemon.send(RunAnnounced("night"))
    with FakeTrainer(daemon.home, "night", 1, "n1", os.getpid()) as trainer:
        trainer.allocate(os.getpid(), os.getpid())
        daemon.send(GenerationStarted("night", 1, "n1", os.getpid(), os.getpid()))
        trainer.start()
        trainer.until_seen()
        yield trainer


def test_a_bad_batch_is_shown_within_a_second_and_the_incident_and_the_line_with_it(
    daemon: DaemonProcess, night: FakeTrainer
) -> None:
    stream = Stream(daemon, "?run=night")
    assert stream.until("hello")["pid"] == daemon.process.pid
    first = stream.until("run")
    assert (first["summary"]["run"], first["summary"]["batches"]) == ("night", 0)
    assert stream.headers is not None
    assert stream.headers["x-accel-buffering"] == "no"
    assert stream.headers["content-type"].startswith("text/event-stream")
    night.batches(120)
    began_s = time.monotonic()
    night.batches(4, nonfinite=4)
    bad = 0
    while bad < 4:
        columns = stream.until("batches")
        assert {len(column) for column in columns["signals"].values()} == {len(columns["count"])}
        bad += sum(columns["signals"]["nonfinite"])
    assert time.monotonic() - began_s < 1.0
    assert columns["count"][-1] == 124
    incident = stream.until("incident")
    assert (incident["run"], incident["training"], incident["incident"]["number"]) == ("night", 1, 1)
    while stream.until("run")["summary"]["nonfinite"] != 4:
        pass


def test_a_stream_that_comes_back_hears_the_lines_it_missed(daemon: DaemonProcess, night: FakeTrainer) -> None:
    stream = Stream(daemon)
    stream.until("run")
    night.batches(120)
    night.batches(4, nonfinite=4)
    line = stream.until("timeline")
    again = Stream(daemon, headers={"last-event-id": str(line["n"] - 1)})
    assert again.until("timeline") == line


def test_with_fifty_streams_open_the_daemon_leaves_at_once(daemon: DaemonProcess, night: FakeTrainer) -> None:
    port = daemon.json("/api/v1/health")["port"]
    token = (daemon.home / "run" / TOKEN_NAME).read_text().strip()
    head = f"GET /api/v1/events?run=night HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\r\n"
    with contextlib.ExitStack() as stack:
        streams = []
        for _ in range(WATCHERS_MAX):
            streams.append(stack.enter_context(socket.create_connection(("127.0.0.1", port))))
            streams[-1].sendall(head.encode())
            assert streams[-1].recv(12) == b"HTTP/1.1 200"
        assert daemon.get("/api/v1/events").status_code == 503
        began_s = time.monotonic()
        daemon.signal(signal.SIGTERM)
        ends = [stack.enter_context(one.makefile("rb")).read() for one in streams]
        took_s = time.monotonic() - began_s
    assert all(b"event: closing" in end for end in ends)
    assert daemon.wait() == 0
    assert "ERROR" not in daemon.output()
    assert took_s < 0.5, "0.09 to 0.16 s when nothing else runs here"
