"""One fact, one place: ports, exit codes and closed sets of words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor import errors
from monitor.client.port import DEFAULT_PORT
from monitor.core.model import ActionKind, AlertKind, CommandKind, EpochStatus, IncidentState, Severity, Verdict
from monitor.supervisor import exec_gate
from tests.architecture.test_imports import ROOT
from trainer_hooks import attach, orders
from trainer_hooks.wire import words
from trainer_hooks.wire.enums import StrEnum
from trainer_hooks.wire.exit_codes import EXIT_HELD
from trainer_hooks.wire.run_documents import RunOutcome

PACKAGES = ("monitor", "trainer_hooks", "alerts")
ENUMS: tuple[type[StrEnum], ...] = (
    words.OrderKind, words.OrderOutcome, words.PlanKind, words.ReadBack, words.Phase, words.TrainingEnd,
    RunOutcome,
    ActionKind, AlertKind, CommandKind, EpochStatus, IncidentState, Severity, Verdict,
)  # fmt: skip
FOREIGN = ("monitor/recorded/importers/",)  # words of other programs' logs
WORDS = {member.value for enum in ENUMS for member in enum} - {""}


def sources(*packages: str) -> Iterator[Path]:
    for package in packages:
        yield from sorted((ROOT / package).rglob("*.py"))


def constants(path: Path, value: int) -> list[int]:
    """Lines of the file in which the number is written out."""
    tree = ast.parse(path.read_text())
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value is value]


def holders(value: int) -> set[str]:
    return {str(path.relative_to(ROOT)) for path in sources(*PACKAGES) if constants(path, value)}


def test_the_port_stands_in_one_file() -> None:
    files = {str(p.relative_to(ROOT)) for p in sources(*PACKAGES) if re.search(rf"\b{DEFAULT_PORT}\b", p.read_text())}
    assert files == {"monitor/client/port.py"}


@pytest.mark.parametrize("code", [errors.EXIT_TAKEN, errors.EXIT_CONFIG])
def test_the_daemons_exit_codes_stand_in_one_file(code: int) -> None:
    assert holders(code) == {"monitor/errors.py"}


def test_the_exit_code_of_a_held_run_is_the_same_where_it_must_be_written_again() -> None:
    again = {
        "trainer_hooks/autoattach/sitecustomize.py", "trainer_hooks/attach.py", "monitor/supervisor/exec_gate.py",
    }  # fmt: skip
    assert holders(EXIT_HELD) == {"trainer_hooks/wire/exit_codes.py", *again}
    assert attach.EXIT_CODE == orders.EXIT_CODE == exec_gate.NOT_STARTED == EXIT_HELD


def compared_with(path: Path) -> Iterator[tuple[int, str]]:
    """Texts in the file that something is compared with, or matched against, and that are words of a closed set."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare):
            found = [c for side in node.comparators for c in ast.walk(side) if isinstance(c, ast.Constant)]
        elif isinstance(node, ast.MatchValue) and isinstance(node.value, ast.Constant):
            found = [node.value]
        else:
            continue
        yield from ((c.lineno, c.value) for c in found if isinstance(c.value, str) and c.value in WORDS)


def test_no_code_of_the_monitor_compares_with_a_word_of_a_closed_set_in_its_own_text() -> None:
    """It compares with the enum's member: a word that is misspelt there is an error, and not a branch never taken."""
    found = [
        f"{path.relative_to(ROOT)}:{line}: {word!r}"
        for path in sources("monitor")
        if not str(path.relative_to(ROOT)).startswith(FOREIGN)
        for line, word in compared_with(path)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("enum", ENUMS, ids=lambda enum: enum.__name__)
def test_a_member_is_its_text_on_the_wire_in_a_key_and_in_a_sentence(enum: type[StrEnum]) -> None:
    for member in enum:
        assert member == member.value
        assert {member.value: 1}[member] == 1
        assert f"{member}" == str(member) == member.value
