"""Secrets stay out of every text, and are read from files that people write."""

from __future__ import annotations

import base64
import pickle

import msgspec
import pytest

from alerts.address import url_problem
from alerts.notifiers.webhook import WebhookConfig
from alerts.secret import Secret, SecretError, key_bytes, secrets_in
from tests.harness.alerts import webhook_to

KEY = "0123456789abcdef0123456789abcdef"
WHSEC = "whsec_" + base64.b64encode(KEY.encode()).decode()


def test_no_way_of_printing_shows_a_secret() -> None:
    secret = Secret("T0K3N")
    texts = [repr(secret), str(secret), f"{secret}", f"{secret!r}", repr([secret]), repr(webhook_to("https://x/T0K3N"))]
    assert not any("T0K3N" in text for text in texts)


def test_a_secret_can_be_neither_pickled_nor_encoded() -> None:
    with pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(Secret("T0K3N"))
    with pytest.raises(TypeError):
        msgspec.json.encode(WebhookConfig(url=Secret("T0K3N")))


def test_equal_secrets_make_equal_receivers() -> None:
    assert webhook_to("https://x/1") == webhook_to("https://x/1")
    assert hash(webhook_to("https://x/1")) == hash(webhook_to("https://x/1"))
    assert webhook_to("https://x/1") != webhook_to("https://x/2")


def test_a_file_holds_one_secret_or_two_while_they_are_changed() -> None:
    assert secrets_in(f"# new\n{WHSEC}\n\n{KEY}\n", "key") == (Secret(WHSEC), Secret(KEY))
    assert key_bytes(Secret(WHSEC)) == key_bytes(Secret(KEY)) == KEY.encode()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "holds 0 secrets"),
        (f"{KEY}\n{KEY}\n{KEY}\n", "holds 3 secrets"),
        ("short\n", "secret 1: 5 bytes; use 24 to 64"),
        (f"{KEY}\nwhsec_!!\n", "secret 2: what follows whsec_ is not base64"),
        ("x" * 65, "65 bytes"),
    ],
)
def test_a_secret_that_can_not_be_used_is_refused_without_showing_it(text: str, why: str) -> None:
    with pytest.raises(SecretError) as caught:
        secrets_in(text, "hook.key")
    assert str(caught.value).startswith("hook.key: ")
    assert why in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("url", ["https://example.org/hook", "http://127.0.0.1:9000/", "http://[::1]:9000/x"])
def test_a_url_that_can_be_posted_to_has_no_problem(url: str) -> None:
    assert url_problem(url) == ""


@pytest.mark.parametrize(
    "url",
    [
        "",
        "T0K3N",
        "ftp://x/T0K3N",
        "https:///T0K3N",
        "https://x:99999/T0K3N",
        "https://[::1/T0K3N",
        "https://x/T0K3N y",
    ],
)
def test_a_url_that_can_not_says_why_without_showing_it(url: str) -> None:
    problem = url_problem(url)
    assert "write one like https://example.org/hook" in problem
    assert "T0K3N" not in problem
