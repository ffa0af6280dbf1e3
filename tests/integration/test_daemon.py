"""A real daemon, spoken to over its real sockets."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from monitor.core.model import (
    CommandGiven,
    CommandKind,
    FramesRefused,
    GenerationExited,
    GenerationStarted,
    Input,
    PlanWritten,
    ReceiptFound,
    RunEnded,
    Tick,
)
from monitor.core.model.channel import RunAnnounced
from monitor.daemon.api.token import TOKEN_NAME
from tests.harness.real_daemon import DaemonProcess, until
from tests.harness.trainer import FakeTrainer, announce
from trainer_hooks.wire.messages import EventsSeen, PhaseChanged, Refused
from trainer_hooks.wire.plan import Receipt
from trainer_hooks.wire.run_documents import Exit, GenerationOutcome, RunOutcome

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (of Prometheus) is not here")
NASTY = ["..%2F..%2Fetc", "..", "a%0Ab", "%00", "x" * 65, "night%0a", "-rf", "%3Cimg%3E", ".hidden"]


@contextmanager
def training(daemon: DaemonProcess, run: str, generation: int = 1, nonce: str = "n1") -> Iterator[FakeTrainer]:
    """A run that its supervisor announced; this test's process plays the supervisor and the training."""
    if generation == 1:
        announce(daemon.home, run)
        daemon.send(RunAnnounced(run))
    with FakeTrainer(daemon.home, run, generation, nonce, os.getpid()) as trainer:
        trainer.allocate(os.getpid(), os.getpid())
        daemon.send(GenerationStarted(run, generation, nonce, os.getpid(), os.getpid()))
        trainer.start()
        trainer.until_seen()
        yield trainer


def _summary(daemon: DaemonProcess, run: str) -> dict[str, Any]:
    summary: dict[str, Any] = daemon.json(f"/api/v1/runs/{run}")["summary"]
    return summary


def test_a_training_is_followed_from_its_first_batch_to_its_report(daemon: DaemonProcess) -> None:
    with training(daemon, "night") as trainer:
        trainer.batches(120)
        trainer.batches(4, nonfinite=4)
        until("all batches arrived", lambda: _summary(daemon, "night")["batches"] == 124)
        summary = _summary(daemon, "night")
        assert (summary["nonfinite"], summary["state"], summary["supervised"]) == (4, "training", True)
        assert summary["incident"]["number"] == 1
        report = daemon.get("/api/v1/runs/night/report")
        assert report.headers["content-type"].startswith("text/markdown")
        assert "Incident 1" in report.text
        file = daemon.home / "runs" / "night" / "reports" / "1.md"
        until("the report is written", file.exists)
        assert "Incident 1" in file.read_text()
        assert [i["number"] for i in daemon.json("/api/v1/runs/night/incidents")] == [1]
        assert daemon.json("/api/v1/runs/night/checkpoints") == []
        assert sum(n for _, _, _, n, *_ in daemon.json("/api/v1/runs/night/curves")["signals"]["nonfinite"]) == 124


def test_two_runs_at_once_are_kept_apart(daemon: DaemonProcess) -> None:
    with training(daemon, "left") as left, training(daemon, "right") as right:
        for _ in range(20):
            left.batches(5)
            right.batches(3, nonfinite=1)
        until("left arrived", lambda: _summary(daemon, "left")["batches"] == 100)
        until("right arrived", lambda: _summary(daemon, "right")["batches"] == 60)
        assert (_summary(daemon, "left")["nonfinite"], _summary(daemon, "right")["nonfinite"]) == (0, 20)
        assert daemon.json("/api/v1/health")["runs_live"] == 2
        assert {run["run"] for run in daemon.json("/api/v1/runs")} == {"left", "right"}


def test_an_order_reaches_the_rank_it_names_and_is_asked_again_until_it_is_answered(daemon: DaemonProcess) -> None:
    with training(daemon, "night") as trainer:
        trainer.batches(3)
        daemon.send(CommandGiven("night", CommandKind.STOP, "the test"))
        order = trainer.until_order()
        assert (order.kind, order.run, order.generation, order.rank) == ("stop", "night", 1, 0)
        trainer.orders.clear()
        assert trainer.until_order().id == order.id
        receipt = Receipt(
            order=order.id, generation=1, outcome="applied", detail="", epoch=1, batch=3, read_back={}, written_s=1.0
        )
        daemon.send(ReceiptFound("night", receipt))
        until(
            "the answer is counted",
            lambda: daemon.metric('trainwarden_orders_total{kind="stop",outcome="applied",run="night"}') == 1,
        )


def test_a_run_that_nobody_announced_is_opened_by_its_first_event_and_only_watched(daemon: DaemonProcess) -> None:
    with FakeTrainer(daemon.home, "bare", pid=os.getpid()) as trainer:
        trainer.allocate()
        trainer.batches(2)
        trainer.start()
        trainer.until_seen()
        trainer.batches(200, nonfinite=20)
        until("the batches arrived", lambda: _summary(daemon, "bare")["nonfinite"] == 20)
        summary = _summary(daemon, "bare")
        assert (summary["act"], summary["supervised"], summary["incident"]["action"]) == (False, False, "")
        assert trainer.orders == []


@pytest.mark.parametrize(
    ("generation", "nonce", "reason"), [(1, "forged", "another launch"), (2, "n1", "generation-2.json: can't be read")]
)
def test_frames_of_another_launch_or_generation_are_refused_and_counted(
    daemon: DaemonProcess, generation: int, nonce: str, reason: str
) -> None:
    with training(daemon, "night") as trainer, FakeTrainer(daemon.home, "night", generation, nonce) as stranger:
        trainer.batches(5)
        stranger.batches(7, nonfinite=7)
        answer = stranger.receive(10.0)
        assert isinstance(answer, Refused)
        assert reason in answer.reason
        dropped = 'trainwarden_frames_dropped_total{run="night"}'
        until("the refused frames are counted", lambda: daemon.metric(dropped) == 7)
        assert (_summary(daemon, "night")["batches"], _summary(daemon, "night")["nonfinite"]) == (5, 0)


def test_a_newer_generation_is_taken_when_its_file_bears_it_out(daemon: DaemonProcess) -> None:
    with training(daemon, "night") as first:
        first.batches(10)
        until("the first generation arrived", lambda: _summary(daemon, "night")["batches"] == 10)
        ended = Exit(number=1, code=75, signal=None, ended_s=time.time())
        daemon.send(GenerationExited("night", ended, relaunch=True))
        with FakeTrainer(daemon.home, "night", 2, "n2", os.getpid()) as second:
            second.allocate(os.getpid(), os.getpid())
            second.start()
            second.until_seen()
            second.batches(4)
            until("the second generation arrived", lambda: _summary(daemon, "night")["batches"] == 14)
            first.batches(3)
            answer = first.receive(10.0)
            while isinstance(answer, EventsSeen):
                answer = first.receive(10.0)
            assert isinstance(answer, Refused)
            assert "older generation" in answer.reason
            assert _summary(daemon, "night")["generation"] == 2


def test_bytes_that_are_no_frame_are_refused_and_the_daemon_goes_on(daemon: DaemonProcess) -> None:
    with training(daemon, "night") as trainer:
        for data in (b"", b"\x00" * 300, b"\xff" * 1000, msgspec.msgpack.encode({"run": "night"})):
            trainer.send_bytes(data)
        trainer.batches(1)
        until("the good frame behind them arrived", lambda: _summary(daemon, "night")["batches"] == 1)
        while trainer.receive(0.5):
            pass
        assert len(trainer.refusals) == 4


def test_an_event_is_acknowledged_only_once_it_is_in_the_history(daemon: DaemonProcess) -> None:
    with training(daemon, "night") as trainer:
        trainer.event(PhaseChanged(0.0, 1, "validate"))
        trainer.until_seen()
        daemon.kill()
        daemon.start()
        assert _summary(daemon, "night")["state"] == "validate"


def test_the_story_is_long_polled(daemon: DaemonProcess) -> None:
    with training(daemon, "night") as trainer:
        told = daemon.json("/api/v1/runs/night/timeline")
        last = told[-1]["n"]
        began_s = time.monotonic()
        assert daemon.json(f"/api/v1/runs/night/timeline?after={last}&wait_s=0.2") == []
        assert time.monotonic() - began_s >= 0.2
        trainer.batches(1, nonfinite=1)
        news = daemon.json(f"/api/v1/runs/night/timeline?after={last}&wait_s=10")
        assert "not finite" in news[0]["text"]
        assert news[0]["n"] > last


@pytest.mark.parametrize("name", NASTY)
def test_a_run_id_that_could_leave_its_folder_or_its_line_is_refused_everywhere(
    daemon: DaemonProcess, name: str
) -> None:
    before = sorted(path.name for path in daemon.home.rglob("*"))
    for method, path in [("GET", ""), ("GET", "/report"), ("GET", "/timeline"), ("POST", "/inputs")]:
        body = {"type": "command", "run": name, "kind": "stop", "by": "x"} if method == "POST" else None
        response = daemon.request(method, f"/api/v1/runs/{name}{path}", body)
        assert response.status_code in {400, 404, 405, 307}, (method, path, response.text)
    raw = httpx.URL(f"http://x/{name}").path.removeprefix("/")
    for path in (name, "night"):
        opened = daemon.request("POST", f"/api/v1/runs/{path}/inputs", RunAnnounced(raw))
        assert opened.status_code in {400, 404, 405, 307}, opened.text
    with FakeTrainer(daemon.home, "../../outside\nFAKE LOG LINE", pid=1) as trainer:
        trainer.start()
        answer = trainer.receive(10.0)
        assert isinstance(answer, Refused)
        assert "letters, digits" in answer.reason
    assert daemon.json("/api/v1/runs") == []
    after = sorted(path.name for path in daemon.home.rglob("*"))
    assert [name for name in after if name not in before] == []


def test_errors_are_sentences(daemon: DaemonProcess) -> None:
    for method, path, body, status in [
        ("GET", "/api/v1/runs/nobody", None, 404),
        ("GET", "/api/v1/nothing", None, 404),
        ("POST", "/api/v1/runs/nobody/inputs", RunAnnounced("nobody"), 422),
        ("POST", "/api/v1/runs/nobody/inputs", CommandGiven("nobody", CommandKind.STOP, "me"), 404),
        ("POST", "/api/v1/runs/nobody/inputs", RunAnnounced("somebody"), 400),
        ("POST", "/api/v1/runs/nobody/inputs", {"ran": 1}, 400),
        (
            "POST",
            "/api/v1/runs/nobody/inputs",
            {"type": "command", "run": "nobody", "kind": "explode", "by": ""},
            400,
        ),
        ("POST", "/api/v1/runs/nobody/inputs", RunAnnounced("x" * 70_000), 413),
    ]:
        response = daemon.request(method, path, body)
        assert response.status_code == status, response.text
        assert len(msgspec.json.decode(response.content)["detail"]) > 8


@pytest.mark.parametrize("given", [Tick(), PlanWritten("night", "plan-2", ""), FramesRefused("night", 3, "made up")])
def test_an_input_that_no_client_may_send_is_refused_and_changes_nothing(daemon: DaemonProcess, given: Input) -> None:
    announce(daemon.home, "night")
    daemon.send(RunAnnounced("night"))
    response = daemon.request("POST", "/api/v1/runs/night/inputs", given)
    assert response.status_code == 400
    assert "not an input that a client may send" in msgspec.json.decode(response.content)["detail"]
    assert (daemon.metric('trainwarden_frames_dropped_total{run="night"}') or 0) == 0


def test_an_announcement_that_is_repeated_changes_nothing(daemon: DaemonProcess) -> None:
    announce(daemon.home, "night")
    over = Exit(number=1, code=0, signal=None, ended_s=1.0, outcome=GenerationOutcome.FINISHED)
    ended = RunEnded("night", RunOutcome.FINISHED, "exit code 0")
    for given in (
        RunAnnounced("night"),
        GenerationStarted("night", 1, "n1", os.getpid(), os.getpid()),
        GenerationExited("night", over, relaunch=False),
        ended,
    ):
        daemon.send(given)
        once = (_summary(daemon, "night"), daemon.json("/api/v1/runs/night/timeline"))
        daemon.send(given)
        assert (_summary(daemon, "night"), daemon.json("/api/v1/runs/night/timeline")) == once


def test_the_port_asks_for_a_token_and_answers_only_to_its_own_name(daemon: DaemonProcess) -> None:
    port = daemon.json("/api/v1/health")["port"]
    address = f"http://127.0.0.1:{port}"
    assert httpx.get(f"{address}/-/healthy").status_code == 200
    assert httpx.get(f"{address}/-/ready").status_code == 200
    key = {"authorization": f"Bearer {(daemon.home / 'run' / TOKEN_NAME).read_text().strip()}"}
    named = {"host": f"localhost:{port}"}
    assert httpx.get(f"{address}/api/v1/runs", headers=named | key).status_code == 200
    for wrong in ({}, {"authorization": "Bearer"}, {"authorization": f"Bearer {'0' * 64}"}, {"authorization": "x"}):
        for path in ("runs", "health", "runs/night", "runs/night/curves", "runs/night/timeline", "nothing"):
            refused = httpx.get(f"{address}/api/v1/{path}", headers=named | wrong)
            assert refused.status_code == 401
            assert TOKEN_NAME in refused.json()["detail"]
    assert httpx.get(f"{address}/metrics", headers={"host": "evil.example"}).status_code == 421
    assert httpx.get(f"{address}/metrics", headers={"host": "localhost"}).status_code == 421
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        refused = httpx.request(method, f"{address}/api/v1/runs", content=b'{"run":"x"}')
        assert refused.status_code == 401, method
        assert "access-control-allow-origin" not in refused.headers
        assert TOKEN_NAME in refused.json()["detail"]
        assert httpx.request(method, f"{address}/api/v1/runs", headers=key).status_code == 405
    refused = httpx.post(f"{address}/api/v1/runs/night/inputs", content=b'{"run":"night"}', headers=key)
    assert refused.status_code == 403
    assert "Unix socket" in refused.json()["detail"]


def test_the_sockets_and_folders_are_for_their_user_alone(daemon: DaemonProcess) -> None:
    runtime = daemon.home / "run"
    modes = {path.name: path.stat().st_mode & 0o777 for path in runtime.iterdir()}
    assert (modes["in.sock"], modes["api.sock"], modes["daemon.lock"], modes[TOKEN_NAME]) == (0o600,) * 4
    assert runtime.stat().st_mode & 0o777 == 0o700
    endpoint = msgspec.json.decode((runtime / "daemon.json").read_bytes())
    assert daemon.process is not None
    assert endpoint["pid"] == daemon.process.pid
    assert endpoint["port"] == daemon.json("/api/v1/health")["port"]


def test_half_sent_requests_do_not_keep_others_out(daemon: DaemonProcess) -> None:
    port = daemon.json("/api/v1/health")["port"]
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
    try:
        for one in slow:
            one.sendall(b"GET /metrics HTTP/1.1\r\nHost: 127")
        answered = until("the daemon closes what never ends", lambda: _status(port) == 200, within_s=25.0)
        assert answered
        assert daemon.get("/api/v1/health").status_code == 200
    finally:
        for one in slow:
            one.close()


def _status(port: int) -> int:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/-/healthy", timeout=1.0).status_code
    except httpx.TransportError:
        return 0


def test_a_second_daemon_is_refused_and_names_the_first(daemon: DaemonProcess) -> None:
    second = DaemonProcess(daemon.home)
    second.start(wait=False)
    assert second.wait() == 73
    assert daemon.process is not None
    assert f"process {daemon.process.pid} is already the daemon" in second.output()
    assert "Traceback" not in second.output()
    assert daemon.get("/api/v1/health").status_code == 200


def test_serve_refuses_a_port_in_use_and_a_detached_daemon_takes_another(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        serving = DaemonProcess(tmp_path, "--port", port)
        serving.start(wait=False)
        assert serving.wait() == 73
        assert f"port {port} on 127.0.0.1 is in use" in serving.output()
        with DaemonProcess(tmp_path, "--port", port, "--detached") as detached:
            assert detached.json("/api/v1/health")["port"] not in {int(port), 0}


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)
    refused = DaemonProcess(tmp_path)
    refused.start(wait=False)
    assert refused.wait() == 78
    assert "chmod 700" in refused.output()


def test_a_detached_daemon_leaves_when_nothing_is_left_to_do(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path, "--port", "0", "--detached", "--idle-exit-s", "0.5") as daemon:
        assert daemon.wait() == 0
        assert "nothing left to do" in (tmp_path / "daemon.log").read_text()


def test_it_leaves_in_order_on_a_signal_while_a_client_waits(daemon: DaemonProcess) -> None:
    with training(daemon, "night") as trainer:
        trainer.batches(30, nonfinite=5)
        until("they arrived", lambda: _summary(daemon, "night")["nonfinite"] == 5)
        last = daemon.json("/api/v1/runs/night/timeline")[-1]["n"]
        asked = [sys.executable, "-c", _WAITER, str(daemon.home / "run" / "api.sock"), str(last)]
        with subprocess.Popen(asked, stdout=subprocess.PIPE) as waiter:
            assert waiter.stdout is not None
            assert waiter.stdout.readline() == b"asking\n"
            daemon.signal(signal.SIGTERM)
            assert daemon.wait(10.0) == 0
        daemon.start()
        assert _summary(daemon, "night")["nonfinite"] == 5


_WAITER = """
import sys, httpx
with httpx.Client(transport=httpx.HTTPTransport(uds=sys.argv[1]), base_url="http://d", timeout=60) as client:
    print("asking", flush=True)
    try:
        client.get(f"/api/v1/runs/night/timeline?after={sys.argv[2]}&wait_s=60")
    except httpx.TransportError as error:
        print(error)
"""


def test_a_supervisor_that_dies_is_noticed_and_so_is_a_training_without_one(daemon: DaemonProcess) -> None:
    announce(daemon.home, "night")
    daemon.send(RunAnnounced("night"))
    supervisor, child = (subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(2))
    with supervisor, child:
        daemon.send(GenerationStarted("night", 1, "n1", child.pid, supervisor.pid))
        until("the run is supervised", lambda: _summary(daemon, "night")["supervised"])
        until("both are watched", lambda: daemon.json("/api/v1/health")["runs_live"] == 1)
        supervisor.kill()
        until("the supervisor is missed", lambda: not _summary(daemon, "night")["supervised"])
        assert _summary(daemon, "night")["state"] != "gone", "the training lives on"
        child.kill()
        until("the training is missed", lambda: _summary(daemon, "night")["state"] == "gone")


@needs_promtool
def test_the_metrics_of_a_live_daemon_pass_promtool_over_both_sockets(daemon: DaemonProcess) -> None:
    with training(daemon, "night") as trainer:
        trainer.batches(60, nonfinite=4)
        until("they arrived", lambda: _summary(daemon, "night")["nonfinite"] == 4)
        port = daemon.json("/api/v1/health")["port"]
        for text in (daemon.get("/metrics").text, httpx.get(f"http://127.0.0.1:{port}/metrics").text):
            assert 'trainwarden_nonfinite_batches_total{kind="any",run="night"} 4.0' in text
            checked = subprocess.run(
                ["promtool", "check", "metrics"], input=text.encode(), capture_output=True, check=False
            )
            assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_a_training_that_nobody_announced_and_that_is_gone_lets_the_daemon_leave(daemon: DaemonProcess) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        with FakeTrainer(daemon.home, "bare", pid=child.pid) as trainer:
            trainer.allocate()
            trainer.start()
            trainer.until_seen()
            until("it is watched", lambda: daemon.json("/api/v1/health")["runs_live"] == 1)
        child.kill()
        until("it is over", lambda: _summary(daemon, "bare")["state"] == "failed")
        assert daemon.json("/api/v1/health")["runs_live"] == 0
