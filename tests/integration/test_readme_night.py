"""What the README shows of a night is what a night shows: it is played through the core, and compared line by line."""

from __future__ import annotations

import re

from tests.architecture.test_documents import ROOT
from tests.harness.page_runs import night


def matches(line: str, text: str) -> bool:
    """`...` stands for anything."""
    return re.fullmatch(".*".join(re.escape(part) for part in line.split("...")), text) is not None


def test_the_readme_shows_what_terminal_and_phone_show() -> None:
    simulation = night()
    section = (ROOT / "README.md").read_text().partition("## At night")[2].partition("\n## ")[0]
    terminal, phone = (block.splitlines() for block in re.findall(r"```\n(.*?)\n```", section, re.DOTALL))
    said = [f"trainwarden: {message}" for message in simulation.messages]
    assert [line for line in terminal if not any(matches(line, each) for each in said)] == []
    assert len(simulation.alerts) == 3  # as the README says
    last = simulation.alerts[-1]
    texts = [last.title, *last.text.splitlines()]
    assert len(phone) == len(texts)
    assert [line for line, text in zip(phone, texts, strict=True) if not matches(line, text)] == []
