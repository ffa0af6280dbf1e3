"""A real daemon as a process of its own, in a state home of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx
import msgspec
from typing_extensions import Self

import _trainwarden
from monitor.core.model.channel import ClientInput

READY_S = 20.0
POLL_S = 0.02

T = TypeVar("T")


def until(what: str, holds: Callable[[], T], within_s: float = 20.0) -> T:
    """The first true value of `holds`, asked again and again. Raises AssertionError, naming `what`, if none comes."""
    deadline_s = time.monotonic() + within_s
    while True:
        if found := holds():
            return found
        if time.monotonic() > deadline_s:
            raise AssertionError(f"within {within_s} s it did not happen: {what}")
        time.sleep(POLL_S)


class DaemonProcess:
    """A daemon with TRAINWARDEN_HOME in `home`. A context manager: no process stays behind."""

    def __init__(self, home: Path, *arguments: str, **environment: str) -> None:
        self.home, self._environment = home, environment
        self._arguments = arguments or ("--port", "0")
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self, wait: bool = True) -> None:
        environment = {**os.environ, "TRAINWARDEN_HOME": str(self.home), **self._environment}
        with (self.home / "daemon-output.txt").open("ab") as output:
            self.process = subprocess.Popen(
                _trainwarden.child_command("monitor", "serve", *self._arguments),
                env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.home,
            )  # fmt: skip
        if wait:
            until("the daemon answers", self._ready, READY_S)

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}: {self.output()}"
        endpoint = self.home / "run" / "daemon.json"
        if not endpoint.exists() or msgspec.json.decode(endpoint.read_bytes())["pid"] != self.process.pid:
            return False
        return self.get("/-/ready").status_code == 200

    def output(self) -> str:
        return (self.home / "daemon-output.txt").read_text()

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, within_s: float = 20.0) -> int:
        assert self.process is not None
        return self.process.wait(within_s)

    def kill(self) -> None:
        """SIGKILL, and reaped."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        self.wait()

    def request(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        transport = httpx.HTTPTransport(uds=str(self.home / "run" / "api.sock"))
        content = None if body is None else msgspec.json.encode(body)
        with httpx.Client(transport=transport, base_url="http://trainwarden", timeout=15.0) as client:
            return client.request(method, path, content=content, headers=headers)

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def json(self, path: str) -> Any:
        response = self.get(path)
        assert response.status_code == 200, response.text
        return msgspec.json.decode(response.content)

    def post(self, path: str, body: object) -> None:
        response = self.request("POST", path, body)
        assert response.status_code == 200, response.text

    def send(self, given: ClientInput) -> None:
        """As the supervisor or the CLI would."""
        self.post(f"/api/v1/runs/{given.run}/inputs", given)

    def metric(self, series: str) -> float | None:
        """The value of a series as it stands in the exposition, such as 'trainwarden_runs'; None: it is not there."""
        for line in self.get("/metrics").text.splitlines():
            if line.startswith(f"{series} "):
                return float(line.rpartition(" ")[2])
        return None
