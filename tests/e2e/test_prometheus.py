"""A night with a kill -9 of its daemon and of its training, as a real Prometheus and a real Alertmanager see it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.harness.night_run import RUN, Daemon, NightRun, fresh_home, trainwarden
from tests.harness.prometheus import DEPLOY, Server, free_port, prometheus
from tests.harness.supervisor import eventually

HAPPENED = "TrainwardenNonfiniteBatches"


class Heard:
    """What Alertmanager sends, message by message."""

    def __init__(self, server: HTTPServer) -> None:
        self.messages: list[dict[str, Any]] = []
        server.expect_request("/alerts").respond_with_handler(self._take)
        self.url = server.url_for("/alerts")

    def _take(self, request: Request) -> Response:
        self.messages.append(json.loads(request.data))
        return Response("", 204)

    def of(self, name: str) -> list[dict[str, Any]]:
        return [m for m in self.messages if any(a["labels"]["alertname"] == name for a in m["alerts"])]


class Watched:
    """The night after its end, and the two servers."""

    def __init__(self, run: NightRun, server: Server, heard: Heard) -> None:
        self.run, self.server, self.heard = run, server, heard
        status = json.loads(trainwarden(run.home, "status", RUN, "--json").stdout)
        self.summary = status["summary"]

    def value(self, expr: str) -> float:
        (found,) = self.server.query(expr)
        return float(found["value"][1])


def scraping(folder: Path, port: int, alertmanager: Server) -> Server:
    """With the files of deploy/, a second for fifteen, and this daemon and this Alertmanager for theirs."""
    config = (DEPLOY / "prometheus.yml").read_text().replace("15s", "1s").replace("127.0.0.1:9469", f"127.0.0.1:{port}")
    config = config.replace("rules/*.yml", f"{DEPLOY}/rules/*.yml").replace("127.0.0.1:9093", alertmanager.address)
    return prometheus(folder, config)


def alerting(folder: Path, heard: Heard) -> Server:
    """With the file of deploy/, one second for ten, and this receiver."""
    config = (
        (DEPLOY / "alertmanager.yml")
        .read_text()
        .replace("10s", "1s")
        .replace("group_interval: 1m", "group_interval: 1s")
    )
    config = config.replace("http://127.0.0.1:9095/alerts", heard.url)
    assert heard.url in config
    (folder / "alertmanager.yml").write_text(config)
    return Server(
        "prometheus-alertmanager", folder, "--config.file=alertmanager.yml", "--storage.path=kept",
        "--cluster.listen-address=",
    )  # fmt: skip


@pytest.fixture(scope="module")
def watched(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder, port = tmp_path_factory.mktemp("servers"), free_port()
    with HTTPServer(port=0) as receiver, fresh_home() as home:
        heard = Heard(receiver)
        alertmanager = alerting(folder, heard)
        server = scraping(folder, port, alertmanager)
        try:
            options = ["--port", str(port)]
            run = NightRun(home, checkpoints, "--epochs", "12", "--batch-s", "0.1", options=options)
            daemon = Daemon(home)
            run.until("a scrape", lambda: server.query(f'trainwarden_batches_total{{run="{RUN}"}} > 20'))
            run.until_says("not finite")
            assert daemon.kill(), "the fault did not fire"
            run.until_generation(2)
            eventually("the alert", lambda: heard.of(HAPPENED), 30.0)
            assert run.wait() == 0, run.shown
            counted = f'trainwarden_batches_total{{run="{RUN}"}}'
            total = json.loads(trainwarden(home, "status", RUN, "--json").stdout)["summary"]["batches"]
            eventually("the last scrape", lambda: [f for f in server.query(counted) if float(f["value"][1]) == total])
            yield Watched(run, server, heard)
        finally:
            server.process.send_signal(signal.SIGTERM)
            alertmanager.process.send_signal(signal.SIGTERM)
            server.process.wait()
            alertmanager.process.wait()


@pytest.mark.parametrize(
    "counter", ["batches_total", "nonfinite_batches_total", "skipped_steps_total", "rollbacks_total"]
)
def test_no_counter_goes_back_over_the_kills(watched: Watched, counter: str) -> None:
    found = watched.server.query(f'resets(trainwarden_{counter}{{run="{RUN}"}}[10m])')
    assert found
    assert {series["value"][1] for series in found} == {"0"}


def test_the_last_values_are_exact(watched: Watched) -> None:
    assert watched.value(f'trainwarden_batches_total{{run="{RUN}"}}') == watched.summary["batches"]
    bad = watched.value(f'trainwarden_nonfinite_batches_total{{run="{RUN}",kind="any"}}')
    assert bad == watched.summary["nonfinite"] > 0
    assert watched.value(f'trainwarden_rollbacks_total{{run="{RUN}",outcome="applied"}}') == 1


def test_an_increase_is_true_within_what_prometheus_extrapolates(watched: Watched) -> None:
    """It extrapolates to the ends of the window: by half the distance of two samples where a series begins or ends."""
    counter = f'trainwarden_batches_total{{run="{RUN}"}}'
    seen = watched.value(f"max_over_time({counter}[10m]) - min_over_time({counter}[10m])")
    increase = watched.value(f"increase({counter}[10m])")
    assert seen <= increase <= 1.15 * seen + 1


def test_the_rule_fired_and_people_got_one_message_about_the_run(watched: Watched) -> None:
    first = watched.heard.of(HAPPENED)[0]
    assert first["groupLabels"]["run"] == RUN
    assert {alert["labels"]["run"] for alert in first["alerts"]} == {RUN}
    (alert,) = [each for each in first["alerts"] if each["labels"]["alertname"] == HAPPENED]
    assert alert["annotations"]["runbook_url"].endswith("#trainwardennonfinitebatches")
    assert RUN in alert["annotations"]["description"]
    assert RUN in alert["annotations"]["dashboard_url"]
