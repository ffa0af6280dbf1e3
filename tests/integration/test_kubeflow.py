"""Progress for Kubeflow Trainer: a daemon that is started as its controller starts a pod, and a server for it."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from monitor.daemon.kubeflow import CERTIFICATE, TOKEN, URL, status_of
from tests.harness.night_run import fresh_home
from tests.harness.page_runs import healthy_batches, live_training
from tests.harness.real_daemon import DaemonProcess, until
from tests.harness.script import Script


class Controller:
    """Kubeflow's end: HTTPS with a certificate of its own."""

    def __init__(self, folder: Path) -> None:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "ca.crt",
             "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
        (folder / "token").write_text("the-token\n")
        self.got: list[tuple[str, Any]] = []
        controller = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                controller.got.append((self.headers["authorization"], body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "ca.crt", folder / "key.pem")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.environment = {
            URL: f"https://127.0.0.1:{self.server.server_port}/status",
            CERTIFICATE: str(folder / "ca.crt"),
            TOKEN: str(folder / "token"),
        }


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    started = Controller(tmp_path)
    yield started
    started.server.shutdown()
    started.server.server_close()


def test_progress_arrives_with_the_token(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in controller.environment.items():
        monkeypatch.setenv(name, value)
    with fresh_home() as home, DaemonProcess(home) as daemon, live_training(daemon, "") as trainer:
        healthy_batches(trainer, 60)
        until("a report", lambda: [body for _, body in controller.got if body["trainerStatus"]["metrics"]], 30)
    token, body = controller.got[-1]
    assert token == "Bearer the-token"
    status = body["trainerStatus"]
    assert 0 <= status["progressPercentage"] < 100
    assert {metric["name"] for metric in status["metrics"]} == {"loss", "grad_norm"}
    assert all(isinstance(metric["value"], str) for metric in status["metrics"])
    assert status["lastUpdatedTime"].endswith("+00:00")


def test_what_is_not_known_is_left_out_and_the_end_is_whole() -> None:
    script = Script()
    script.start(1)
    script.batches(1, 60)
    assert status_of(script.run, script.driver.now_s)["estimatedRemainingSeconds"] > 0
    script.batches(1, 1, bad=True)
    assert [m["name"] for m in status_of(script.run, script.driver.now_s)["metrics"]] == []
    script.run.ended = "finished"
    assert status_of(script.run, script.driver.now_s)["progressPercentage"] == 100
