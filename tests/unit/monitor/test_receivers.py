"""One receiver whose secret is gone holds up no other, and its own alerts wait until the secret is back."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerts.outbox import OutboxRow
from alerts.secret import SecretError
from monitor.daemon.receivers import AGAIN_S, Receivers
from monitor.policyfile.load import policy_from_text
from tests.harness.alerts import START_S, alert


def row(receiver: str) -> OutboxRow:
    return OutboxRow(
        id=1, receiver=receiver, lane="r", alert=alert("a"), attempts=0, created_s=START_S, next_s=START_S
    )  # fmt: skip


def test_a_secret_that_comes_back_is_used_within_a_minute(tmp_path: Path) -> None:
    now_s = [0.0]
    url = tmp_path / "phone.url"
    policy = policy_from_text(
        f"receivers:\n- {{name: phone, kind: webhook, url_file: {url}}}\n"
        "- {name: ops, kind: webhook, url: 'https://example.org/a'}\n",
        "p",
    )
    receivers = Receivers(lambda: now_s[0])
    with pytest.raises(SecretError, match=r"phone\.url: can't be read"):
        receivers.learn("r", policy)
    assert receivers.names("r") == ("phone", "ops")
    assert receivers.of(row("ops")) is not None
    assert receivers.of(row("phone")) is None
    url.write_text("https://example.org/b")
    assert receivers.of(row("phone")) is None
    now_s[0] = AGAIN_S
    assert receivers.of(row("phone")) is not None
    assert receivers.of(row("nobody")) is None
