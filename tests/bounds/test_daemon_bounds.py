"""The limits of what the daemon queues, remembers, answers and stores."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from monitor.core.model import Entry, RecordArrived, Tick
from monitor.core.model.channel import ClientInput
from monitor.core.model.curves import POINTS_MAX
from monitor.daemon.api.endpoint import BODY_MAX, application, body_of, decoded
from monitor.daemon.api.server import CONNECTIONS_MAX, IDLE_MAX, bind_port, server
from monitor.daemon.hardware.reading import XID_MAX, Device, checked
from monitor.daemon.ingest.listener import OUTGOING_MAX, REASON_MAX, REFUSALS_MAX, ROUTES_MAX, Listener
from monitor.daemon.ingest.session import StreamKey
from monitor.daemon.main import LOG_BYTES_MAX, LOG_FILES
from monitor.daemon.pipeline import PENDING_MAX
from monitor.history.curve_query import Range, curves
from monitor.history.reads import TIMELINE_LINES_MAX, timeline
from monitor.history.recall import FILE_NAME
from monitor.history.schema import GROUPS_MAX, PARTS_MAX, RAW_ROWS_MAX
from monitor.history.store import Store
from monitor.history.transaction_rows import Commit, Snapshot, TimelineLine, sample_of
from tests.harness.trainer import batch
from tests.unit.monitor.test_pipeline import Bench, running
from trainer_hooks.wire.messages import Counts, Order

ROOT = Path(__file__).resolve().parents[2]


def listener_of(bench: Bench, folder: Path) -> Listener:
    """A listener without a socket: what it remembers and posts."""
    unused: Any = None
    return Listener(folder / "in.sock", bench.pipeline, unused, bench.clock)


def test_the_routes_to_ranks_are_forgotten_the_oldest_first(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    listener = listener_of(bench, tmp_path)
    for rank in range(ROUTES_MAX + 2):
        listener._remember(StreamKey("night", 1, 1, rank), str(rank).encode())
    listener.send(Order("o", "night", 1, 0, "stop", "", ""))
    assert listener.undelivered == 1, "the route of rank 0 is gone, and the order is counted"
    listener.send(Order("o", "night", 1, ROUTES_MAX + 1, "stop", "", ""))
    assert listener.undelivered == 1
    bench.close()


def test_messages_on_their_way_down_are_dropped_and_counted_when_nobody_takes_them(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    listener = listener_of(bench, tmp_path)
    order = Order("o", "night", 1, 0, "stop", "", "")
    listener._remember(StreamKey("night", 1, 1, 0), b"peer")
    for _ in range(OUTGOING_MAX + 7):
        listener.send(order)
    assert listener.undelivered == 7
    bench.close()


def test_refusals_are_told_apart_up_to_a_limit_and_all_counted(tmp_path: Path) -> None:
    """A peer that sends a new kind of nonsense with every frame must not fill memory."""
    bench = Bench(tmp_path)
    listener = listener_of(bench, tmp_path)
    for number in range(REFUSALS_MAX + 20):
        listener._refuse(b"", "", f"{number} {'x' * 2 * REASON_MAX}")
    assert len(listener._refused) == REFUSALS_MAX + 1
    assert listener._refused["", "one of many reasons"] == 20
    assert sum(listener._refused.values()) == REFUSALS_MAX + 20
    assert all(len(reason) <= REASON_MAX for _, reason in listener._refused)
    bench.close()


def test_nothing_more_is_taken_in_while_too_much_waits_for_the_disk(tmp_path: Path) -> None:
    async def scene() -> None:
        bench = Bench(tmp_path)
        for _ in range(PENDING_MAX - 1):
            bench.pipeline.offer(Tick())
        await asyncio.wait_for(bench.pipeline.room(), 1.0)
        bench.pipeline.offer(Tick())
        with pytest.raises(TimeoutError), anyio.fail_after(0.05):  # asyncio's own is another one in Python 3.10
            await bench.pipeline.room()
        async with running(bench) as pipeline:
            await asyncio.wait_for(pipeline.room(), 30.0)

    asyncio.run(scene())


@pytest.mark.parametrize(("size", "status"), [(BODY_MAX, 400), (BODY_MAX + 1, 413)])
def test_a_body_over_its_size_is_refused_before_it_is_read_in_full(size: int, status: int) -> None:
    chunk = 1024
    sent: list[int] = []

    async def receive() -> dict[str, object]:
        sent.append(min(chunk, size - sum(sent)))
        return {"type": "http.request", "body": b" " * sent[-1], "more_body": sum(sent) < size}

    scope = {"type": "http", "method": "POST", "path": "/x", "headers": [], "query_string": b"", "server": ("x", 1)}
    with pytest.raises(HTTPException) as refused:
        decoded("/x", asyncio.run(body_of(Request(scope, receive))), ClientInput)
    assert refused.value.status_code == status


def test_connections_beyond_the_limit_are_told_to_come_back() -> None:
    async def hello(_: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    begun, go_on = 0, asyncio.Event()

    async def slow(_: Request) -> PlainTextResponse:
        nonlocal begun
        begun += 1
        await go_on.wait()
        return PlainTextResponse("slow")

    async def asked(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 10.0)
        writer.close()
        return answer

    async def scene() -> None:
        bound = bind_port(0, or_another=False)
        port = bound.getsockname()[1]
        serving = server(application([], Route("/", hello), Route("/slow", slow)))
        task = asyncio.create_task(serving.serve(sockets=[bound]))
        while not serving.started:  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(0)
        assert b"200 OK" in await asked(port)
        busy = []
        for number in range(1, CONNECTIONS_MAX):
            busy.append(await asyncio.open_connection("127.0.0.1", port))
            busy[-1][1].write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            while begun < min(number, CONNECTIONS_MAX // 2 - 1):  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0)
        assert b"503" in (await asked(port)).splitlines()[0]
        go_on.set()
        for _, writer in busy:
            writer.close()
        serving.should_exit = True
        await task

    asyncio.run(scene())


def test_connections_that_ask_nothing_are_closed_the_oldest_first() -> None:
    async def hello(_: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    async def scene() -> None:
        bound = bind_port(0, or_another=False)
        serving = server(application([], Route("/", hello)))
        task = asyncio.create_task(serving.serve(sockets=[bound]))
        while not serving.started:  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(0)
        idle = []
        for number in range(1, IDLE_MAX + 4):
            idle.append(await asyncio.open_connection("127.0.0.1", bound.getsockname()[1]))
            while len(serving.server_state.connections) < min(number, IDLE_MAX):  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0)
        for reader, _ in idle[:3]:
            with contextlib.suppress(ConnectionError):  # a reset is an end too
                assert await asyncio.wait_for(reader.read(), 10.0) == b""
        for reader, writer in idle[3:]:
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in await asyncio.wait_for(reader.readline(), 10.0)
        for _, writer in idle:
            writer.close()
        serving.should_exit = True
        await task

    asyncio.run(scene())


def test_an_xid_beyond_those_there_are_is_refused_and_named() -> None:
    device, refused = checked(Device(index=0, uuid="GPU-a", name="H", xids=(XID_MAX, XID_MAX + 1, 0)))
    assert device.xids == (XID_MAX,)
    assert refused == (f"xid {XID_MAX + 1}", "xid 0")


def test_a_timeline_is_told_in_pieces(tmp_path: Path) -> None:
    store = Store(tmp_path / FILE_NAME)
    lines = [TimelineLine(n, "r", float(n), "info", str(n)) for n in range(1, TIMELINE_LINES_MAX + 8)]
    store.commit(Commit(timeline=lines))
    store.close()
    first = timeline(tmp_path / FILE_NAME, "r", 0)
    assert [line.n for line in first] == list(range(1, TIMELINE_LINES_MAX + 1))
    assert len(timeline(tmp_path / FILE_NAME, "r", first[-1].n)) == 7


def test_curves_are_kept_of_so_many_components_and_groups_and_drawn_in_so_many_points(tmp_path: Path) -> None:
    many = tuple(float(number) for number in range(PARTS_MAX + GROUPS_MAX))
    entries = [
        Entry(
            number,
            float(number),
            RecordArrived(
                "r", 1, 0, msgspec.structs.replace(batch(Counts(batches=number)), parts=many, learning_rates=many)
            ),
        )
        for number in range(1, 2 * POINTS_MAX + 2)
    ]
    sample = sample_of(entries[0])
    assert sample is not None
    assert (len(sample.parts), 1 + len(sample.more_rates)) == (PARTS_MAX, GROUPS_MAX)
    store = Store(tmp_path / FILE_NAME)
    store.commit(Commit(entries=entries))
    store.close()
    drawn = curves(tmp_path / FILE_NAME, Range("r"), points=10**9).signals["loss"]
    assert POINTS_MAX // 2 <= len(drawn) <= POINTS_MAX
    assert sum(point.n for point in drawn) == len(entries)


def test_raw_batches_of_a_run_are_trimmed_to_the_newest_at_a_snapshot(tmp_path: Path) -> None:
    store = Store(tmp_path / FILE_NAME)
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            "INSERT INTO samples (run, generation, rank, count, epoch, batch, at_s, nonfinite) "
            "SELECT 'r', 1, 0, i, 1, i, i, 0 FROM n",
            (RAW_ROWS_MAX + 9,),
        )
    db.close()
    store.commit(Commit(snapshot=Snapshot(1, msgspec.msgpack.encode({"seq": 1}))))
    [(count, first)] = store.rows("SELECT count(*), min(count) FROM samples")
    store.close()
    assert (count, first) == (RAW_ROWS_MAX, 10)


def test_the_daemons_log_is_bounded(tmp_path: Path) -> None:
    """Nobody watches it. In a process of its own, since loggers belong to the process."""
    code = (
        "import logging, sys\n"
        "from pathlib import Path\n"
        "from monitor.daemon.main import _log_to\n"
        "_log_to(Path(sys.argv[1]))\n"
        "for _ in range(40): logging.getLogger('trainwarden').info('x' * 400_000)\n"
    )
    log = tmp_path / "daemon.log"
    subprocess.run([sys.executable, "-c", code, str(log)], check=True, capture_output=True, cwd=ROOT)
    files = sorted(tmp_path.iterdir())
    assert len(files) == LOG_FILES
    assert all(file.stat().st_size <= LOG_BYTES_MAX for file in files)
