"""What every registered notifier promises: what it makes of each answer, and that no secret and no text gets loose."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import struct
import threading
from collections.abc import Callable

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from alerts.alert import PICTURE_BYTES_MAX, Alert
from alerts.http import BODY_BYTES_MAX, Http
from alerts.notifiers import RETRY_AFTER_MAX_S, Outcome, Registered, Sent, load_all
from tests.contracts.samples import sample
from tests.harness.alerts import START_S, alert
from tests.harness.raw_server import raw_server

NO_HTTP = {"email", "desktop", "apprise"}  # each is held to its own tests, in tests/unit/alerts
KINDS = sorted(
    kind
    for kind, registered in load_all().items()
    if registered.notify.__module__.startswith("alerts.") and kind not in NO_HTTP
)
TOKEN = "T0K3N-in-the-address"
KEY = "K3Y-0123456789abcdef0123456789abcdef"
PNG = b"\x89PNG\r\n\x1a\n"
CONFIG = "`config(url, key, timeout_s)`: the notifier's config for a receiver at that URL with that signing key"
HOSTILE = "\r\nx-evil: 1\r\n\r\n<script>alert(1)</script> @everyone *bold* [a](javascript:b) \x00\x1b[31m\u202e{{x}}"


@pytest.fixture(params=KINDS)
def notifier(request: pytest.FixtureRequest) -> Registered:
    """Each in turn."""
    registered: Registered = load_all()[request.param]
    return registered


def config_of(notifier: Registered, url: str, timeout_s: float = 5.0) -> object:
    """A config of this notifier that holds a secret in its address and another as its key."""
    given: object = sample("notifier", notifier.kind, CONFIG).config(f"{url}/{TOKEN}", KEY, timeout_s)
    return given


def tried(notifier: Registered, config: object, told: Alert) -> Sent:
    """One try, as the deliverer makes it."""

    async def once() -> Sent:
        async with Http() as http:
            return await notifier.notify(told, config, http, START_S)

    return asyncio.run(once())


def answered(server: HTTPServer, answer: Callable[[Request], Response] | Response) -> list[Request]:
    """Have the server give this answer to whatever comes; returns the requests, as they come."""
    got: list[Request] = []

    def take(request: Request) -> Response:
        request.get_data()
        got.append(request)
        return answer if isinstance(answer, Response) else answer(request)

    server.expect_request(re.compile(rf"/{TOKEN}(/.*)?")).respond_with_handler(take)  # some add a path to the address
    return got


def base(server: HTTPServer) -> str:
    return server.url_for("").rstrip("/")


def ours(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged, by anything but the test's own server."""
    return [record.getMessage() for record in caplog.records if record.name != "werkzeug"]


def test_its_config_is_of_the_registered_type_and_two_equal_ones_are_one_receiver(notifier: Registered) -> None:
    one, other = (config_of(notifier, "http://127.0.0.1:1") for _ in range(2))
    assert type(one) is notifier.config
    assert one == other
    assert hash(one) == hash(other)


def test_an_alert_that_is_taken_arrives_once_with_its_title_and_text(
    notifier: Registered, httpserver: HTTPServer
) -> None:
    got = answered(httpserver, Response(status=204))
    assert tried(notifier, config_of(notifier, base(httpserver)), alert("r/7")) == Sent(Outcome.OK)
    [request] = got
    assert "non-finite batches" in request.get_data(as_text=True)
    assert "epoch 4, batch 32" in request.get_data(as_text=True)


def test_the_same_alert_has_the_same_body_on_every_try(notifier: Registered, httpserver: HTTPServer) -> None:
    """Receivers drop a repeat by what they get."""
    got = answered(httpserver, Response(status=503))
    config = config_of(notifier, base(httpserver))
    for _ in range(2):
        tried(notifier, config, alert("r/7"))
    assert got[0].get_data() == got[1].get_data()


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_speaks_of_the_moment_may_be_tried_again(
    notifier: Registered, httpserver: HTTPServer, status: int
) -> None:
    answered(httpserver, Response(status=status))
    assert tried(notifier, config_of(notifier, base(httpserver)), alert("r/7")).outcome is Outcome.RETRY


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422])
def test_what_speaks_of_the_request_is_refused_and_the_reason_names_the_status(
    notifier: Registered, httpserver: HTTPServer, status: int
) -> None:
    answered(httpserver, Response(status=status))
    sent = tried(notifier, config_of(notifier, base(httpserver)), alert("r/7"))
    assert sent.outcome is Outcome.REFUSED
    assert str(status) in sent.reason


def test_a_receiver_may_ask_for_a_pause_of_an_hour_at_most(notifier: Registered, httpserver: HTTPServer) -> None:
    answered(httpserver, Response(status=429, headers={"retry-after": "9" * 50}))
    sent = tried(notifier, config_of(notifier, base(httpserver)), alert("r/7"))
    assert (sent.outcome, sent.retry_after_s) == (Outcome.RETRY, RETRY_AFTER_MAX_S)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused_and_not_followed(notifier: Registered, httpserver: HTTPServer, status: int) -> None:
    """It could lead to a service that only this host may reach, and takes the secret along."""
    visited: list[Request] = []

    def inside(request: Request) -> Response:
        visited.append(request)
        return Response(status=200)

    httpserver.expect_request("/inside").respond_with_handler(inside)
    got = answered(httpserver, Response(status=status, headers={"location": httpserver.url_for("/inside")}))
    sent = tried(notifier, config_of(notifier, base(httpserver)), alert("r/7"))
    assert sent.outcome is Outcome.REFUSED
    assert len(got) == 1
    assert not visited


def test_where_nobody_listens_it_may_be_tried_again(notifier: Registered) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    sent = tried(notifier, config_of(notifier, f"http://127.0.0.1:{port}"), alert("r/7"))
    assert sent.outcome is Outcome.RETRY
    assert sent.reason


def test_a_receiver_that_says_nothing_is_left_after_the_time_of_its_config(notifier: Registered) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # takes the connection, and never reads or answers
        sent = tried(
            notifier, config_of(notifier, f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.2), alert("r/7")
        )
    assert sent.outcome is Outcome.RETRY


def test_an_answer_that_comes_too_late_is_none(notifier: Registered) -> None:
    let_go = threading.Event()

    def late(connection: socket.socket) -> None:
        let_go.wait(10)
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with raw_server(late) as url:
        sent = tried(notifier, config_of(notifier, url, timeout_s=0.2), alert("r/7"))
        let_go.set()
    assert sent == Sent(Outcome.RETRY, "no answer within 0.2 s")


def test_a_connection_that_is_reset_may_be_tried_again(notifier: Registered) -> None:
    def reset(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() sends a RST

    with raw_server(reset) as url:
        sent = tried(notifier, config_of(notifier, url), alert("r/7"))
    assert sent == Sent(Outcome.RETRY, "the connection broke before an answer")


def test_a_link_local_address_is_never_connected_to(notifier: Registered) -> None:
    sent = tried(notifier, config_of(notifier, "http://169.254.169.254"), alert("r/7"))
    assert sent.outcome is Outcome.RETRY
    assert "link-local" in sent.reason


def test_hostile_texts_stay_in_the_body(notifier: Registered, httpserver: HTTPServer) -> None:
    """Names of runs, files and layers come from others: none of them may become a header, or end the request."""
    got = answered(httpserver, Response(status=204))
    told = Alert(
        id="r/7",
        name=HOSTILE,
        severity=HOSTILE,
        labels={HOSTILE: HOSTILE},
        title=HOSTILE,
        text=HOSTILE,
        started_s=START_S,
    )
    assert tried(notifier, config_of(notifier, base(httpserver)), told).outcome is Outcome.OK
    [request] = got
    assert "x-evil" not in request.headers
    assert not any("evil" in value for value in request.headers.values())


@pytest.mark.parametrize("character", ["\x00", "\n", '"', "\U0001f600"], ids=["control", "line", "quote", "emoji"])
def test_no_alert_makes_a_body_over_the_limit(notifier: Registered, httpserver: HTTPServer, character: str) -> None:
    got = answered(httpserver, Response(status=204))
    long = character * 500_000
    labels = {f"{number}{long}": long for number in range(40)}
    told = Alert(
        id="a", name="x", severity="info", labels=labels, title=long, text=long, started_s=START_S,
        picture=PNG.ljust(PICTURE_BYTES_MAX, b"x"),
    )  # fmt: skip
    assert tried(notifier, config_of(notifier, base(httpserver)), told).outcome is Outcome.OK
    assert all(len(request.get_data()) <= BODY_BYTES_MAX for request in got)


@pytest.mark.parametrize("status", [200, 302, 404, 503])
def test_no_secret_is_in_a_reason_a_repr_or_a_log(
    notifier: Registered, httpserver: HTTPServer, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where the receiver says it back to us."""
    caplog.set_level(logging.DEBUG)
    echo = Response(f"{TOKEN} {KEY}", status, {"location": f"/{TOKEN}", "retry-after": TOKEN, "x": KEY})
    answered(httpserver, echo)
    config = config_of(notifier, base(httpserver))
    sent = tried(notifier, config, alert("r/7"))
    shown = " ".join([repr(config), str(config), repr(sent), *ours(caplog)])
    assert TOKEN not in shown
    assert KEY not in shown


def test_no_secret_is_in_the_reason_where_the_connection_breaks(
    notifier: Registered, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sent = tried(notifier, config_of(notifier, "http://127.0.0.1:1"), alert("r/7"))
    assert TOKEN not in " ".join([repr(sent), *ours(caplog)])
