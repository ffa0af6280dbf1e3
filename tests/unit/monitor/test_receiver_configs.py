"""A receiver of the policy file is checked against the config of its kind; its secrets are read where it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from msgspec.structs import FieldInfo
from ruamel.yaml import YAML

from alerts.address import EXAMPLE
from alerts.notifiers import load_all
from alerts.notifiers.webhook import WebhookConfig
from alerts.secret import Secret, SecretError
from monitor.core.policy.settings import Policy
from monitor.policyfile.load import PolicyFileError, effective_yaml, policy_from_text, schema_text
from monitor.policyfile.receiver_configs import meta_of, receiver_of, unusable_receivers

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
            "p:5:3: receivers.0.url_env: url and url_env give the same value; keep one of them",
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


MAIL = "host: h, sender: me@x, to: [ana@x]"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("host: h, sender: me@x, to: ana@x", "to: is not a list; write it like [one, two]"),
        ("host: h, sender: me@x, to: []", "to: is empty; write at least one"),
        ("host: h, sender: '', to: [ana@x]", "sender: is empty; write a text"),
        (f"{MAIL}, security: ssl", "security: is not one of its words; write one of starttls, tls, none"),
        (f"{MAIL}, port: 0", "port: is not a whole number from 1"),
        (f"{MAIL}, timeout_s: -1", "timeout_s: is not a number above 0"),
    ],
)
def test_a_wrong_value_says_what_to_write(keys: str, said: str) -> None:
    with pytest.raises(PolicyFileError) as caught:
        policy_from_text(f"receivers:\n- {{name: mail, kind: email, {keys}}}\n", "p")
    assert str(caught.value) == f"p:2:3: receivers.0: {said}"


OURS = {kind: one for kind, one in load_all().items() if one.notify.__module__.startswith("alerts.")}
KEYS = [(kind, field) for kind, one in OURS.items() for field in msgspec.structs.fields(one.config)]


@pytest.mark.parametrize(("kind", "field"), KEYS, ids=[f"{kind}.{field.name}" for kind, field in KEYS])
def test_every_key_of_a_receiver_is_described_in_a_sentence(kind: str, field: FieldInfo) -> None:
    text = meta_of(field).description or ""
    assert text[:1].isupper(), f"{kind}.{field.name} has no description: write about('...')"
    assert text.endswith(".")
    assert len(text.split()) >= 6


def test_an_editor_is_shown_the_keys_of_the_kind() -> None:
    then = {one["if"]["properties"]["kind"]["const"]: one["then"] for one in receiver_schema()["allOf"]}
    assert set(then) >= set(OURS)
    assert {"topic", "topic_file", "topic_env", "timeout_s"} <= set(then["ntfy"]["properties"])
    assert "names a file" in then["ntfy"]["properties"]["topic_file"]["description"]


def test_the_schema_takes_what_the_policy_takes() -> None:
    schema = json.loads(schema_text())
    for text, good in ((MAIL, True), (f"{MAIL}, security: ssl", False), ("host: h, sender: me@x, to: ana@x", False)):
        document = YAML(typ="safe").load(f"receivers:\n- {{name: mail, kind: email, {text}}}\n")
        assert jsonschema.Draft202012Validator(schema).is_valid(document) is good


def receiver_schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(schema_text())["$defs"]["ReceiverSettings"]
    return found


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
