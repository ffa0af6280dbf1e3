"""Receivers that misbehave on a real socket: what they do to us, and that they never learn or leak a secret."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import socket
import threading
from collections.abc import Callable

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from alerts.alert import Alert
from alerts.http import Http
from alerts.notifiers import Outcome, Sent
from alerts.notifiers.webhook import WebhookConfig, webhook
from alerts.outbox import Settled
from alerts.secret import Secret
from tests.harness.alerts import START_S, Delivery, alert, webhook_to
from tests.harness.raw_server import raw_server

KEY = "0123456789abcdef0123456789abcdef"
TOKEN = "T0K3N"  # the canary: it must turn up nowhere


async def send(config: WebhookConfig, told: Alert) -> Sent:
    """One try, as the deliverer makes it."""
    async with Http() as http:
        return await webhook(told, config, http, START_S)


def sent_to(url: str, *, timeout_s: float = 5.0) -> Sent:
    config = webhook_to(url, timeout_s=timeout_s).config
    assert isinstance(config, WebhookConfig)
    return asyncio.run(send(config, alert("r/7")))


def holding_on(done: threading.Event) -> Callable[[socket.socket], None]:
    """Says nothing until `done`."""

    def hold(connection: socket.socket) -> None:
        done.wait(20)

    return hold


def test_a_receiver_can_verify_what_it_gets(httpserver: HTTPServer) -> None:
    got: list[Request] = []

    def take(request: Request) -> Response:
        got.append(request)
        return Response(status=204)

    httpserver.expect_request("/hook", method="POST").respond_with_handler(take)
    config = WebhookConfig(url=Secret(httpserver.url_for("/hook")), secrets=(Secret(KEY),))
    assert asyncio.run(send(config, alert("r/7"))).outcome is Outcome.OK
    (request,) = got
    signed = f"r/7.{int(START_S)}.".encode() + request.get_data()
    expected = base64.b64encode(hmac.new(KEY.encode(), signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"
    assert request.headers["content-type"] == "application/json"


def test_a_retry_has_the_same_id_and_body_and_a_new_timestamp(httpserver: HTTPServer) -> None:
    got: list[Request] = []

    def fail_once(request: Request) -> Response:
        got.append(request)
        return Response(status=503 if len(got) == 1 else 200, headers={"retry-after": "30"})

    httpserver.expect_request("/hook").respond_with_handler(fail_once)

    async def deliver() -> Delivery:
        async with Delivery({"ops": webhook_to(httpserver.url_for("/hook"))}).running() as delivery:
            delivery.store(alert("r/7"))
            await delivery.until(lambda: delivery.outbox.errors == ["HTTP 503"])
            delivery.advance(30.0)
            await delivery.until(lambda: delivery.settled != [])
        return delivery

    delivery = asyncio.run(deliver())
    assert delivery.settled == [("r/7", "ops", Settled.DELIVERED)]
    first, second = got
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == "r/7"
    assert first.get_data() == second.get_data()
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 30


def test_a_redirect_is_refused_and_not_followed(httpserver: HTTPServer) -> None:
    followed: list[Request] = []

    def follow(request: Request) -> Response:
        followed.append(request)
        return Response()

    httpserver.expect_request("/elsewhere").respond_with_handler(follow)
    target = httpserver.url_for("/elsewhere")
    httpserver.expect_request("/hook").respond_with_data(status=307, headers={"location": target})
    sent = sent_to(httpserver.url_for("/hook"))
    assert sent.outcome is Outcome.REFUSED
    assert "redirects are not followed" in sent.reason
    assert followed == []


def test_a_receiver_that_hangs_costs_its_timeout_and_no_more() -> None:
    done = threading.Event()
    with raw_server(holding_on(done)) as url:
        sent = sent_to(url, timeout_s=0.3)
        done.set()
    assert sent == Sent(Outcome.RETRY, "no answer within 0.3 s")


def test_a_receiver_that_drips_its_header_is_cut_off_by_the_whole_tries_timeout() -> None:
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        try:
            connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
            while not stop.wait(0.05):
                connection.sendall(b"y")
        except OSError:
            stop.set()  # the other side hung up, as it should

    with raw_server(drip) as url:
        sent = sent_to(url, timeout_s=0.5)
        stop.set()
    assert sent.outcome is Outcome.RETRY


def test_an_answer_of_gigabytes_is_never_read() -> None:
    """Its status counts; what follows is left where it is."""
    pushed = 0

    def flood(connection: socket.socket) -> None:
        nonlocal pushed
        chunk = b"x" * 65536
        try:
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n")
            for _ in range(16384):
                connection.sendall(chunk)
                pushed += len(chunk)
        except OSError:
            return

    with raw_server(flood) as url:
        sent = sent_to(url)
    assert sent.outcome is Outcome.OK
    assert pushed < 64 * 1024 * 1024, "more than the sockets' buffers left the server"


def test_a_connection_that_breaks_before_an_answer_is_tried_again() -> None:
    with raw_server(lambda connection: connection.sendall(b"HTTP/1.1 20")) as url:
        sent = sent_to(url)
    assert sent == Sent(Outcome.RETRY, "the connection broke before an answer")


def test_garbage_instead_of_http_is_tried_again() -> None:
    with raw_server(lambda connection: connection.sendall(b"\x00\xff" * 100 + b"\r\n\r\n")) as url:
        sent = sent_to(url)
    assert sent.outcome is Outcome.RETRY


def test_nobody_listening_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert sent_to(f"http://127.0.0.1:{port}/") == Sent(Outcome.RETRY, "could not connect")


def test_a_receiver_that_speaks_no_tls_is_told_apart(httpserver: HTTPServer) -> None:
    sent = sent_to(httpserver.url_for("/").replace("http://", "https://"))
    assert sent == Sent(Outcome.RETRY, "TLS failed")


def test_a_dead_receiver_holds_up_no_other_on_real_sockets(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/hook").respond_with_data(status=200)
    done = threading.Event()

    async def deliver(dead: str) -> Delivery:
        receivers = {
            "dead": webhook_to(dead, "dead", timeout_s=30.0),
            "well": webhook_to(httpserver.url_for("/hook"), "well"),
        }
        async with Delivery(receivers).running() as delivery:
            for n in range(3):
                delivery.store(alert(f"a{n}"), "dead")
                delivery.store(alert(f"a{n}"), "well")
            await delivery.until(lambda: len(delivery.settled) == 3)
        return delivery

    with raw_server(holding_on(done)) as url:
        delivery = asyncio.run(deliver(url))
        done.set()
    assert delivery.settled == [(f"a{n}", "well", Settled.DELIVERED) for n in range(3)]


def test_no_log_error_or_repr_holds_the_url_or_the_secret(
    httpserver: HTTPServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything is logged at DEBUG, every kind of failure happens, and the canary is looked for in all of it."""
    caplog.set_level(logging.DEBUG)
    httpserver.expect_request(f"/{TOKEN}").respond_with_data(status=500)

    async def fail(url: str) -> Delivery:
        async with Delivery({"ops": webhook_to(url, secrets=(KEY,), timeout_s=0.5)}).running() as delivery:
            delivery.store(alert("r/7"))
            await delivery.until(lambda: delivery.outbox.errors != [])
        return delivery

    told = ""
    for url in (
        httpserver.url_for(f"/{TOKEN}"),
        f"http://127.0.0.1:1/{TOKEN}",
        f"http://nowhere.invalid/{TOKEN}",
        f"nonsense:{TOKEN}",
    ):
        delivery = asyncio.run(fail(url))
        told += repr(delivery.outbox.errors) + repr(delivery.receivers)
    assert "HTTP 500" in told
    ours = [record.getMessage() for record in caplog.records if record.name != "werkzeug"]  # that is the receiver's own
    assert len(ours) >= 4
    assert TOKEN not in told + repr(ours)
    assert KEY not in told + repr(ours)
