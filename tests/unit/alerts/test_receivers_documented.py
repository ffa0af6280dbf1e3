"""Every receiver stands in docs/alerts.md, and what is written there is a policy."""

from __future__ import annotations

import re
from pathlib import Path

from alerts.notifiers import load_all
from monitor.policyfile.load import policy_from_text

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "alerts.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


def test_what_is_written_there_is_a_policy_and_names_every_kind() -> None:
    policy = policy_from_text("receivers:\n" + "".join(BLOCKS), "docs/alerts.md")
    ours = {kind for kind, one in load_all().items() if one.notify.__module__.startswith("alerts.")}
    assert {receiver.kind for receiver in policy.receivers} | {"discord", "teams"} == ours
    assert "or discord, or teams" in TEXT
