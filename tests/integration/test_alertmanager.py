"""A real Alertmanager takes an incident as one thread: opened, rolled back, and all of it over at the end."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from alerts.alert import Alert
from alerts.deliver import Receiver
from alerts.notifiers.alertmanager import AlertmanagerConfig
from alerts.outbox import Settled
from alerts.secret import Secret
from tests.harness.alerts import Delivery, alert
from tests.harness.prometheus import needed
from tests.harness.real_daemon import until

CONFIG = """
route: {{receiver: hook, group_by: [run, incident], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers: [{{name: hook, webhook_configs: [{{url: "{url}", send_resolved: true}}]}}]
"""


class Manager:
    """The process, and what it posts."""

    def __init__(self, home: Path, server: HTTPServer) -> None:
        self.posts: list[dict[str, Any]] = []
        self._home = home
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        server.expect_request("/hook").respond_with_handler(self._take)
        (home / "alertmanager.yml").write_text(CONFIG.format(url=server.url_for("/hook")))
        self.start()

    def start(self) -> None:
        command = [
            needed("prometheus-alertmanager"), f"--config.file={self._home}/alertmanager.yml",
            f"--storage.path={self._home}/data", f"--web.listen-address={self.url.removeprefix('http://')}",
            "--cluster.listen-address=",
        ]  # fmt: skip
        with (self._home / "output.txt").open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        until("the Alertmanager answers", self._ready)

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def _take(self, request: Request) -> Response:
        self.posts.append(request.get_json())
        return Response(status=200)

    def stages(self) -> list[tuple[str, set[str]]]:
        """Of each notification: its status, and the stages in it."""
        return [(post["status"], {one["labels"]["stage"] for one in post["alerts"]}) for post in self.posts]

    def known(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(httpx.get(f"{self.url}/api/v2/alerts").content)
        return found


@pytest.fixture
def manager(tmp_path: Path, httpserver: HTTPServer) -> Iterator[Manager]:
    started = Manager(tmp_path, httpserver)
    yield started
    started.kill()


def stage(name: str, now_s: float, *, over: bool = False, title: str = "NaN") -> Alert:
    return msgspec.structs.replace(
        alert(f"r-i1/{name}"), name=name, thread="r-i1", labels={"run": "r", "incident": "r-i1"}, title=title,
        started_s=now_s, ended_s=now_s if over else None,
    )  # fmt: skip


def test_an_incident_is_one_thread_that_ends_and_survives_a_restart_of_the_alertmanager(manager: Manager) -> None:
    receiver = Receiver(name="am", kind="alertmanager", config=AlertmanagerConfig(url=Secret(manager.url)))

    async def scene() -> None:
        delivery = Delivery({"am": receiver}, now_s=time.time(), clock=time.time, resend_s=0.3)

        async def until_posted(*stages: str, status: str = "firing") -> None:
            what = f"{status} {stages} is posted"
            await asyncio.to_thread(until, what, lambda: (status, set(stages)) in manager.stages())

        async with delivery.running():
            delivery.store(stage("incident_opened", time.time(), title='<b>"NaN"</b>'), "am")
            await until_posted("incident_opened")
            delivery.store(stage("rolled_back", time.time()), "am")
            await until_posted("incident_opened", "rolled_back")
            manager.kill()
            await asyncio.to_thread(manager.start)
            # It knew none after its start: what it knows then are the repeats.
            await asyncio.to_thread(until, "the repeats arrive", lambda: len(manager.known()) == 2)
            delivery.store(stage("resolved", time.time() + 0.001, over=True), "am")
            await until_posted("incident_opened", "rolled_back", "resolved", status="resolved")
        assert {outcome for _, _, outcome in delivery.settled} == {Settled.DELIVERED}

    asyncio.run(asyncio.wait_for(scene(), 60.0))
    first = manager.posts[0]["alerts"][0]
    assert first["annotations"]["summary"] == '<b>"NaN"</b>'
    assert first["labels"]["incident"] == "r-i1"
