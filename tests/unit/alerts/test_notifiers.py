"""What a status means, how long a receiver may make us wait, and the webhook's bytes against a frozen example."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket

import httpx
import pytest

from alerts import notifiers
from alerts.alert import Alert, AlertError, decode, encode
from alerts.http import NAME_UNKNOWN
from alerts.http import _what_happened as what_happened
from alerts.notifiers import RETRY_AFTER_MAX_S, Outcome, Sent, register, retry_after_s
from alerts.notifiers.email import _problem as problem
from alerts.notifiers.webhook import WebhookConfig, body, signature_headers
from alerts.secret import Secret
from tests.harness.alerts import START_S, alert

KEY, OLD_KEY = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [
        ((200, 201, 202, 204, 299), Outcome.OK),
        ((408, 425, 429, 500, 502, 503, 504, 599), Outcome.RETRY),
        ((301, 302, 307, 308, 400, 401, 403, 404, 410, 422, 999), Outcome.REFUSED),
    ],
)
def test_every_status_has_one_meaning(statuses: tuple[int, ...], outcome: Outcome) -> None:
    assert {Sent.of_status(status).outcome for status in statuses} == {outcome}


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("9" * 90, RETRY_AFTER_MAX_S),
        ("Tue, 18 Nov 2025 00:01:00 GMT", 60.0),
        ("Tue, 18 Nov 2025 23:59:59 GMT", RETRY_AFTER_MAX_S),
        ("Mon, 17 Nov 2025 00:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("²", None),
        ("Tue, 18 Nov 99999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_honoured_up_to_an_hour_and_nonsense_is_ignored(header: str, wait_s: float | None) -> None:
    assert retry_after_s(header, START_S) == wait_s


def test_the_webhook_is_found_without_a_list() -> None:
    registered = notifiers.load_all()["webhook"]
    assert registered.config is WebhookConfig
    with pytest.raises(ValueError, match="registered twice"):
        register("webhook", WebhookConfig)(registered.notify)


def test_the_body_is_version_1_as_documented() -> None:
    """Receivers are written against this: a change here needs a new version."""
    assert json.loads(body(alert("r/7"))) == {
        "version": 1,
        "type": "incident_opened",
        "timestamp": "2025-11-18T00:00:00+00:00",
        "data": {
            "id": "r/7",
            "severity": "critical",
            "status": "firing",
            "labels": {"run": "r"},
            "title": "non-finite batches",
            "text": "epoch 4, batch 32",
            "started_s": START_S,
            "ended_s": None,
        },
    }


def test_texts_and_labels_are_cut_so_that_no_body_is_too_large() -> None:
    long = "\x00" * 10**6
    labels = {f"{n}{long}": long for n in range(100)}
    huge = Alert(id="a", name="x", severity="info", labels=labels, title=long, text=long, started_s=0.0, ended_s=1.0)
    assert len(body(huge)) < 256 * 1024
    assert json.loads(body(huge))["data"]["status"] == "resolved"


def test_the_signature_is_that_of_standard_webhooks_one_for_each_secret() -> None:
    payload = b'{"a":1}'
    headers = signature_headers("r/7", payload, (Secret(KEY), Secret(OLD_KEY)), 1_763_424_000)
    assert headers["webhook-id"] == "r/7"
    assert headers["webhook-timestamp"] == "1763424000"
    expected = [
        "v1," + base64.b64encode(hmac.new(key.encode(), b"r/7.1763424000." + payload, hashlib.sha256).digest()).decode()
        for key in (KEY, OLD_KEY)
    ]
    assert headers["webhook-signature"].split(" ") == expected


def test_the_signature_agrees_with_the_example_of_the_standard() -> None:
    """The test vector of the reference libraries (standard-webhooks/standard-webhooks, libraries/*/tests)."""
    secret = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signature_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', (secret,), 1614265330)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_without_a_secret_nothing_is_signed() -> None:
    assert "webhook-signature" not in signature_headers("a", b"", (), 1)


def test_an_alert_survives_its_store() -> None:
    told = alert("r/7")
    assert decode(encode(told)) == told
    with pytest.raises(AlertError, match="another version"):
        decode(b'{"id": "x"}')


@pytest.mark.parametrize("bad", ["", "a b", "a\r\nx-evil: 1", "é", "x" * 201])
def test_an_id_that_is_no_header_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        alert(bad)


def test_a_name_without_an_address_is_told_apart_from_a_server_that_is_down() -> None:
    """A typing error in a host's name and a server that is down have different remedies."""
    unknown = httpx.ConnectError("x")
    unknown.__cause__ = socket.gaierror()
    assert what_happened(unknown, 1.0) == problem(socket.gaierror()).reason == NAME_UNKNOWN
    assert (
        what_happened(httpx.ConnectError("x"), 1.0) == problem(ConnectionRefusedError()).reason == "could not connect"
    )


@pytest.mark.parametrize(("status", "hint"), [(401, "token"), (403, "let"), (404, "nothing is at"), (410, "new one")])
def test_a_refusal_that_a_person_can_mend_says_how(status: int, hint: str) -> None:
    assert hint in Sent.of_status(status).reason
