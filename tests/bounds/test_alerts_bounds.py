"""The limits of what people are told with."""

from __future__ import annotations

import asyncio
import json

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from alerts.alert import Alert
from alerts.deliver import IN_FLIGHT_MAX, Receiver
from alerts.http import BODY_BYTES_MAX, HEADER_CHARS_MAX, Http
from alerts.notifiers import Outcome, Sent, register
from alerts.notifiers.webhook import LABEL_CHARS_MAX, LABELS_MAX, TEXT_CHARS_MAX, TITLE_CHARS_MAX, body
from alerts.secret import SECRET_BYTES_MAX, SECRETS_MAX, Secret, SecretError, key_bytes, secrets_in
from tests.harness.alerts import START_S, Delivery, alert

KEY = "0123456789abcdef0123456789abcdef"


class Held:
    """Receivers that answer only when they are let go."""

    def __init__(self) -> None:
        self.now, self.most, self.gate, self.full = 0, 0, asyncio.Event(), asyncio.Event()


HELD: list[Held] = []


@register("held", int)
async def held(told: Alert, config: int, http: Http, now_s: float) -> Sent:
    """Counts how many are tried at once."""
    state = HELD[-1]
    state.now += 1
    state.most = max(state.most, state.now)
    if state.now == IN_FLIGHT_MAX:
        state.full.set()
    await state.gate.wait()
    state.now -= 1
    return Sent(Outcome.OK)


def test_only_so_many_receivers_are_tried_at_once_and_the_others_follow() -> None:
    async def scene() -> int:
        HELD.append(Held())
        names = [f"ops{number}" for number in range(IN_FLIGHT_MAX + 4)]
        receivers = {name: Receiver(name=name, kind="held", config=n) for n, name in enumerate(names)}
        delivery = Delivery(receivers)
        async with delivery.running():
            for name in names:
                delivery.store(alert(f"r/{name}", run=name), name)
            await HELD[-1].full.wait()
            HELD[-1].gate.set()
            await delivery.until(lambda: len(delivery.settled) == len(names))
        return HELD[-1].most

    assert asyncio.run(scene()) == IN_FLIGHT_MAX


def test_a_header_of_a_receiver_is_looked_at_up_to_a_limit(httpserver: HTTPServer) -> None:
    long = "1" * (HEADER_CHARS_MAX + 50)
    httpserver.expect_request("/").respond_with_response(Response(status=503, headers={"retry-after": long}))

    async def post() -> str:
        async with Http() as http:
            return (await http.post(Secret(httpserver.url_for("/")), b"{}", {}, 5.0)).retry_after

    assert asyncio.run(post()) == long[:HEADER_CHARS_MAX]


def test_a_webhooks_texts_and_labels_are_cut_at_their_limits() -> None:
    labels = {f"{number:03}{'k' * LABEL_CHARS_MAX}": "v" * (LABEL_CHARS_MAX + 1) for number in range(LABELS_MAX + 1)}
    told = Alert(
        id="a", name="x", severity="info", labels=labels, started_s=START_S,
        title="t" * (TITLE_CHARS_MAX + 1), text="x" * (TEXT_CHARS_MAX + 1),
    )  # fmt: skip
    data = json.loads(body(told))["data"]
    assert (len(data["title"]), len(data["text"]), len(data["labels"])) == (TITLE_CHARS_MAX, TEXT_CHARS_MAX, LABELS_MAX)
    assert {len(text) for pair in data["labels"].items() for text in pair} == {LABEL_CHARS_MAX}
    assert len(body(told)) < BODY_BYTES_MAX


def test_a_file_holds_two_secrets_at_most() -> None:
    assert len(secrets_in("\n".join([KEY] * SECRETS_MAX), "f")) == SECRETS_MAX
    with pytest.raises(SecretError, match=f"holds {SECRETS_MAX + 1} secrets"):
        secrets_in("\n".join([KEY] * (SECRETS_MAX + 1)), "f")


def test_a_secret_has_as_many_bytes_as_the_standard_allows() -> None:
    assert len(key_bytes(Secret("k" * SECRET_BYTES_MAX))) == SECRET_BYTES_MAX
    with pytest.raises(SecretError, match=f"{SECRET_BYTES_MAX + 1} bytes"):
        key_bytes(Secret("k" * (SECRET_BYTES_MAX + 1)))
