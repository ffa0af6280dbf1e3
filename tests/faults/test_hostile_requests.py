"""Whatever comes over its sockets, the daemon answers with less than 500, takes nothing wrong, and stays alive."""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from monitor.core.model import GenerationStarted
from monitor.core.model.channel import ClientInput, RunAnnounced
from monitor.daemon.api.token import TOKEN_NAME
from tests.golden.examples import example
from tests.harness.real_daemon import DaemonProcess, until
from tests.harness.trainer import FakeTrainer, announce, batch, training_started
from trainer_hooks.wire.codec import encode
from trainer_hooks.wire.messages import PROTOCOL, Counts, EventSent, Frame, Refused, Sender

NUMBERS = (
    "1e30", "-1", "1e400", "nan", "inf", "-0", "0x10", "1_000", "9" * 5000, "", "%00", "%ff", "1;drop", "٣", "1e-400",
    str(2**63), str(-(2**63)), str(2**64), "0.5", "true",
)  # fmt: skip
PARAMETERS = ("rank", "training", "generation", "first", "last", "points", "after", "wait_s", "incident")
PATHS = (
    "/", "//", "/..", "/api/v1/runs/", "/api/v1/runs/%2e%2e", "/api/v1/runs/%00", "/api/v1/runs/%ff", "/metrics/",
    "/api/v1/runs/" + "a" * 9000, "/api/v1/runs/night/nothing", "/api/v1/runs/night/report?incident=99", "/%", "/?&=&=",
    "*", "http://x/metrics", "/metrics?name[]=%ff", "/\x7f", "/api/v1/runs/night%0d%0aX:1", "/-/ready?" + "a=b&" * 3000,
)  # fmt: skip
HEADERS = (
    "Accept: " + "a" * 20_000, "Accept: application/openmetrics-text; version=9.9.9", "Accept: \xff", "Accept: ,;=;;,",
    "Accept-Encoding: gzip, br, \xfe", "Range: bytes=0-", "Content-Length: -1", "Content-Length: 99999999999999999999",
    "Content-Length: 5\r\nContent-Length: 6", "Transfer-Encoding: chunked", "Transfer-Encoding: gzip", "Host:",
    "Expect: 100-continue", "Upgrade: websocket\r\nConnection: upgrade", "Authorization: Bearer \xff", ": x",
    "x" * 70_000,
    "Content-Type: application/json; charset=utf-7", "If-Modified-Since: never", "X: \x00",
)  # fmt: skip
BODIES = (
    b"", b"{", b"null", b"[]", b"{}", b'{"type":1}', b'{"type":"tick"}', b"[" * 60_000, b'{"a":' * 20_000,
    b"\xff" * 100,
    b'{"type":"run_announced","run":"\\ud800"}', b'{"type":"run_announced","run":"night","x":' + b"9" * 6000 + b"}",
    b'{"type":"run_announced","run":"../../etc"}', b"\x00", b" " * 65_536, b" " * 65_537, b'"' + b"a" * 1000 + b'"',
)  # fmt: skip


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    home = tmp_path_factory.mktemp("h")
    home.chmod(0o700)
    announce(home, "night")
    with DaemonProcess(home) as daemon:
        daemon.send(RunAnnounced("night"))
        with FakeTrainer(home, "night", 1, "n1", os.getpid()) as trainer:
            trainer.allocate(os.getpid(), os.getpid())
            daemon.send(GenerationStarted("night", 1, "n1", os.getpid(), os.getpid()))
            trainer.start()
            trainer.until_seen()
            trainer.batches(20)
            yield daemon


def ask(home: Path, raw: bytes) -> int:
    """The status of the first answer to these bytes; 0: the connection was closed without one."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(15.0)
        connection.connect(str(home / "run" / "api.sock"))
        try:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            line = connection.makefile("rb").readline()
        except ConnectionError:
            return 0
    return int(line.split()[1]) if line.startswith(b"HTTP/1.1 ") else 0


def get(path: str, *headers: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: x", *headers, "Connection: close", "", ""]
    return "\r\n".join(lines).encode(errors="surrogateescape")


def post(body: bytes, run: str = "night") -> bytes:
    head = f"POST /api/v1/runs/{run}/inputs HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def queries() -> Iterator[bytes]:
    for parameter, number in itertools.product(PARAMETERS, NUMBERS):
        where = {"after": "timeline", "wait_s": "timeline", "incident": "report"}.get(parameter, "curves")
        if parameter != "wait_s" or not number[:1].isdigit():  # a long poll is waited for elsewhere
            yield get(f"/api/v1/runs/night/{where}?{parameter}={number}")


def still_well(daemon: DaemonProcess) -> None:
    assert daemon.process is not None
    assert daemon.process.poll() is None
    assert daemon.json("/api/v1/runs/night")["summary"]["batches"] == 20
    assert "Traceback" not in daemon.output()


def test_no_query_path_header_or_method_gives_500(daemon: DaemonProcess) -> None:
    asked = [*queries(), *map(get, PATHS), *(get("/metrics", header) for header in HEADERS)]
    asked += [get(path).replace(b"GET", method, 1) for path in ("/metrics", "/api/v1/runs/night/state") for method in
              (b"HEAD", b"PUT", b"TRACE", b"CONNECT", b"x" * 9000, b"\xff", b"OPTIONS")]  # fmt: skip
    asked += [b"", b"\r\n" * 50, b"\x16\x03\x01\x02\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET", b"\x00" * 99_999]
    assert len(asked) > 200
    answers = {raw[:80]: ask(daemon.home, raw) for raw in asked}
    assert {raw: status for raw, status in answers.items() if status >= 500} == {}
    assert sum(status == 400 for status in answers.values()) > 50
    still_well(daemon)


def test_no_body_gives_500(daemon: DaemonProcess) -> None:
    answers = {body[:60]: ask(daemon.home, post(body)) for body in BODIES}
    assert {body: status for body, status in answers.items() if status not in {400, 413, 0}} == {}
    still_well(daemon)


EXTREMES: tuple[Any, ...] = (
    0,
    -1,
    2**31,
    2**63 - 1,
    -(2**63),
    2**64 - 1,
    1e308,
    -1e308,
    "",
    "a" * 20_000,
    "\u0000",
    None,
)


def test_an_input_with_any_values_gives_less_than_500_and_leaves_the_daemon_alive(tmp_path: Path) -> None:
    """A process of the same user may send it: what it says may be wrong, and nothing breaks."""
    announce(tmp_path, "night")
    with DaemonProcess(tmp_path) as daemon:
        for kind, extreme in itertools.product(get_args(ClientInput), EXTREMES):
            fields = msgspec.to_builtins(example(kind, run="night"))
            for name in [name for name in fields if name not in {"type", "run"}] or ["run"]:
                body = msgspec.json.encode({**fields, name: extreme})
                assert ask(tmp_path, post(body)) < 500, (kind, name, extreme)
        assert daemon.process is not None
        assert daemon.process.poll() is None
        assert daemon.get("/metrics").status_code == 200
        assert "Traceback" not in daemon.output()


def test_a_frame_with_numbers_that_no_batch_has_ends_nothing(daemon: DaemonProcess) -> None:
    counts = Counts(batches=2**64 - 1, nonfinite_batches=2**64 - 1)
    with FakeTrainer(daemon.home, "night", 1, "n1", os.getpid()) as forger:
        for rank, sent in ((0, counts), (2**63, counts), (-1, counts), (7, Counts(batches=2**63))):
            sender = Sender("night", 1, rank, "n1", 5)
            forger.send_bytes(encode(Frame(PROTOCOL, sender, 0, (batch(sent),))))
    until("the daemon answers", lambda: daemon.get("/metrics").status_code == 200)
    assert daemon.process is not None
    assert daemon.process.poll() is None


def test_no_rank_is_taken_beyond_the_announced_world_size(daemon: DaemonProcess) -> None:
    with FakeTrainer(daemon.home, "night", 1, "n1", os.getpid()) as trainer:
        started = msgspec.structs.replace(training_started(trainer.folder, os.getpid()), world_size=2)
        trainer.send_bytes(encode(Frame(PROTOCOL, Sender("night", 1, 0, "n1", 9), 0, (EventSent(1, started),))))
        reasons: list[str] = []
        first = (batch(Counts(batches=1)),)
        for rank in (1, 2, 4000):
            trainer.send_bytes(encode(Frame(PROTOCOL, Sender("night", 1, rank, "n1", 9), 0, first)))
        while len(reasons) < 2:
            answer = trainer.receive(10.0)
            assert answer is not None, reasons
            reasons += [answer.reason] if isinstance(answer, Refused) else []
        assert reasons == [f"rank {rank}: the training has 2 ranks, from 0" for rank in (2, 4000)]


def test_with_200_idle_connections_metrics_and_health_answer_at_once(daemon: DaemonProcess) -> None:
    port = daemon.json("/api/v1/health")["port"]
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
    try:
        took: list[float] = []
        for path in ("/-/healthy", "/metrics") * 10:
            began_s = time.perf_counter()
            with socket.create_connection(("127.0.0.1", port)) as asking:
                head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
                asking.sendall(head.encode())
                assert asking.makefile("rb").readline().split()[1] == b"200"
            took.append(time.perf_counter() - began_s)
        assert min(took[::2]) < 0.05, took
        assert min(took[1::2]) < 0.05, "what is not on disk yet is committed at once, and does not wait for company"
    finally:
        for one in idle:
            one.close()


def test_the_token_survives_a_restart_and_one_that_others_could_read_is_replaced(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path) as daemon:
        path = tmp_path / "run" / TOKEN_NAME
        first = path.read_text()
        daemon.kill()
        daemon.start()
        assert path.read_text() == first
        daemon.kill()
        path.chmod(0o644)
        daemon.start()
        assert path.read_text() != first
        assert path.stat().st_mode & 0o777 == 0o600
