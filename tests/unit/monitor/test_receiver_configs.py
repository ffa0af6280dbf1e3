"""A receiver of the policy file is checked against the config of its kind; its secrets are read where it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerts.address import EXAMPLE
from alerts.notifiers.webhook import WebhookConfig
from alerts.secret import Secret, SecretError
from monitor.core.policy.settings import Policy
from monitor.policyfile.load import PolicyFileError, effective_yaml, policy_from_text
from monitor.policyfile.receiver_configs import receiver_of, unusable_receivers

URL, KEY = "https://example.org/T0K3N", "K3Y-0123456789abcdef0123456789abcdef"
START = "receivers:\n- name: phone\n  kind: webhook\n"


def mistakes(text: str) -> list[str]:
    with pytest.raises(PolicyFileError) as caught:
        policy_from_text(START + text, "p")
    assert "T0K3N" not in str(caught.value)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "p:2:3: receivers.0: 'url' is missing; write url or url_file or url_env"),
        ("  ulr: T0K3N\n", "p:4:3: receivers.0.ulr: is not a key of a receiver of kind 'webhook'; did you mean 'url'?"),
        (f"  url: {URL}\n  timeout_s: long\n", "p:2:3: receivers.0: timeout_s: is not a number"),
        (
            "  url: ftp://T0K3N\n",
            f"p:4:3: receivers.0.url: the value does not begin with https:// or http://; {EXAMPLE}",
        ),
        (
            f"  url: {URL}\n  url_env: PHONE\n",
            "p:5:3: receivers.0.url_env: url and url_env say the same thing; keep one of them",
        ),
        ("  url_file: phone.url\n", "p:4:3: receivers.0.url_file: is not an absolute path; begin it with / or ~/"),
        (
            f"  url: {URL}\n  severity: bad\n",
            "p:5:3: receivers.0.severity: the value is not one of its words; write one of info, warning, critical",
        ),
        (
            f"  url: {URL}\nroutes:\n- match: ['run=a*']\n  receivers: [fone]\n",
            "p:7:15: routes.0.receivers.0: no receiver has this name; did you mean 'phone'?",
        ),
        (
            f"  url: {URL}\nwebhooks:\n- {{name: phone, url: '{URL}'}}\n",
            "p:2:3: receivers.0.name: 'phone' names 2 receivers; give each its own",
        ),
    ],
)
def test_each_mistake_says_where_and_what_to_write(text: str, line: str) -> None:
    assert line in mistakes(text)


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(PolicyFileError, match="'webhok' is not a kind of receiver; did you mean 'webhook'"):
        policy_from_text("receivers:\n- {name: a, kind: webhok}\n", "p")


def test_secrets_come_from_a_file_or_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = tmp_path / "phone.url"
    address.write_text(f"{URL}\n")
    monkeypatch.setenv("PHONE_KEYS", f"{KEY}\n{KEY}-old")
    policy = policy_from_text(f"{START}  url_file: {address}\n  secrets_env: PHONE_KEYS\n  timeout_s: 3\n", "p")
    receiver = receiver_of(policy.receivers[0])
    assert receiver.config == WebhookConfig(url=Secret(URL), secrets=(Secret(KEY), Secret(f"{KEY}-old")), timeout_s=3)


def test_a_secret_that_is_not_there_is_said_with_its_place_and_remedy() -> None:
    policy = policy_from_text(f"{START}  url_env: NOT_SET_ANYWHERE\n", "p")
    with pytest.raises(SecretError, match="NOT_SET_ANYWHERE: is empty or not set; set it where the daemon starts"):
        receiver_of(policy.receivers[0])
    [problem] = unusable_receivers(policy)
    assert problem.startswith("receivers.0: NOT_SET_ANYWHERE")


def test_no_text_of_a_receiver_is_in_the_journal_or_on_a_terminal() -> None:
    """The journal's policy is read again, and leads nowhere."""
    policy = policy_from_text(f"{START}  url: {URL}\n  secrets: [{KEY}]\n  timeout_s: 3\n", "p")
    stored = policy.model_dump_json()
    assert Policy.model_validate_json(stored).receivers[0].name == "phone"
    for shown in (stored, effective_yaml(policy), repr(policy), str(policy)):
        assert "T0K3N" not in shown
        assert KEY not in shown
