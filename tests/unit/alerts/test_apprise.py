"""Apprise in a child process: redirects, secrets, endless answers and deadlines are contained."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import subprocess
import sys
import time

import msgspec
import psutil
import pytest
from pytest_httpserver import HTTPServer

from alerts.alert import Alert
from alerts.http import Http
from alerts.notifiers import Outcome, Sent
from alerts.notifiers.apprise import CHILD, UNKNOWN, AppriseConfig, apprise, refusal
from alerts.secret import Secret
from monitor.report.loss_picture import loss_picture
from tests.harness.alerts import START_S, alert

pytest.importorskip("apprise")
TOKEN = "T0K3N"


def tried(url: str, told: Alert | None = None, timeout_s: float = 20.0) -> Sent:
    async def once() -> Sent:
        return await apprise(
            told or alert("r/7"), AppriseConfig(address=Secret(url), timeout_s=timeout_s), Http(), START_S
        )

    return asyncio.run(once())


def address(server: HTTPServer) -> str:
    return f"json://127.0.0.1:{server.port}/{TOKEN}"


def test_a_message_arrives_with_its_picture(httpserver: HTTPServer) -> None:
    httpserver.expect_request(f"/{TOKEN}").respond_with_data("")
    picture = loss_picture([(n, 2.0 + n % 3) for n in range(50)])
    assert tried(address(httpserver), msgspec.structs.replace(alert("r/7"), picture=picture)) == Sent(Outcome.OK)
    [(request, _)] = httpserver.log
    sent = request.get_json()
    assert (sent["title"], sent["type"]) == ("non-finite batches", "failure")
    assert "epoch 4, batch 32" in sent["message"]
    assert [one["filename"] for one in sent["attachments"]] == ["loss.png"]


@pytest.mark.parametrize(
    ("status", "outcome"), [(503, Outcome.RETRY), (429, Outcome.RETRY), (404, Outcome.REFUSED), (302, Outcome.REFUSED)]
)
def test_a_status_means_what_it_means_elsewhere_and_no_redirect_is_followed(
    httpserver: HTTPServer, status: int, outcome: Outcome, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    away = httpserver.url_for("/inside")
    httpserver.expect_request(f"/{TOKEN}").respond_with_data(
        "x" * 10_000_000, status, {"location": away, "retry-after": "7"}
    )
    sent = tried(address(httpserver))
    assert sent.outcome is outcome
    assert len(httpserver.log) == 1
    assert sent.retry_after_s == (7.0 if outcome is Outcome.RETRY else None)
    ours = [record.getMessage() for record in caplog.records if record.name != "werkzeug"]
    assert TOKEN not in " ".join([repr(sent), *ours])


def test_a_service_that_says_nothing_is_left_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began_s = time.monotonic()
        sent = tried(f"json://127.0.0.1:{silent.getsockname()[1]}/{TOKEN}", timeout_s=2.0)
    assert sent == Sent(Outcome.RETRY, "no answer within 2 s")
    assert time.monotonic() - began_s < 6.0


def test_an_address_that_apprise_does_not_know_is_refused_without_showing_it() -> None:
    sent = tried(f"nosuch://{TOKEN}")
    assert sent.outcome is Outcome.REFUSED
    assert TOKEN not in repr(sent)


def test_an_address_is_checked_by_apprise_itself_and_nothing_is_sent(httpserver: HTTPServer) -> None:
    httpserver.expect_request(f"/{TOKEN}").respond_with_data("")
    assert refusal(AppriseConfig(address=Secret(address(httpserver)))) == ""
    assert not httpserver.log
    for wrong in (f"nosuch://{TOKEN}", f"discord://{TOKEN}", TOKEN):
        assert refusal(AppriseConfig(address=Secret(wrong))) == f"address: {UNKNOWN}"


def test_an_address_that_cant_be_checked_in_time_is_not_refused() -> None:
    assert refusal(AppriseConfig(address=Secret(f"nosuch://{TOKEN}"), timeout_s=0.01)) == ""


@pytest.mark.parametrize("form", ["", "?format=markdown", "?format=html"])
def test_a_hostile_name_mentions_nobody_and_is_no_markup(httpserver: HTTPServer, form: str) -> None:
    httpserver.expect_request(f"/{TOKEN}").respond_with_data("")
    hostile = "@everyone <!channel> <@U1> <img src=x onerror=1>"
    told = msgspec.structs.replace(alert("r/7"), title=hostile, text=hostile)
    assert tried(f"{address(httpserver)}{form}", told) == Sent(Outcome.OK)
    [(request, _)] = httpserver.log
    for text in (request.get_json()["title"], request.get_json()["message"]):
        assert "@everyone" not in text
        assert "<!" not in text
        assert "<@" not in text
    if form.endswith("html"):
        assert "<img" not in request.get_json()["message"]


def test_a_try_that_is_given_up_leaves_no_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        tried(f"json://127.0.0.1:{silent.getsockname()[1]}/{TOKEN}", timeout_s=1.5)
    children = psutil.Process().children(recursive=True)
    assert not [child for child in children if any("apprise_child" in part for part in child.cmdline())]


def test_a_child_whose_parent_is_gone_ends_by_itself() -> None:
    given = {"url": "json://127.0.0.1:1", "libraries": "", "timeout_s": -4.9, "title": "", "text": "", "type": "info"}
    child = subprocess.run(
        [sys.executable, "-I", str(CHILD)], input=json.dumps(given).encode(), check=False, timeout=30.0
    )
    assert child.returncode == -signal.SIGALRM


def test_a_link_local_address_is_never_connected_to() -> None:
    assert tried(f"json://169.254.169.254/{TOKEN}").outcome is Outcome.RETRY
