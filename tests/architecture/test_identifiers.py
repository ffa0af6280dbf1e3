"""Names in the code are the field's own words. Those that docs/glossary.md and STYLE replaced do not come back.

Fields on disk, on the wire and in SQL keep the spelling they began with: it is a text there, and not an identifier.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("monitor", "trainer_hooks", "alerts")
PARTS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+")
REPLACED = {
    "told": "reported, sent, logged", "tell": "report, send, log", "tells": "reports", "telling": "reporting",
    "say": "notify", "says": "reports", "said": "text", "story": "timeline", "rung": "action", "rungs": "actions",
    "spell": "streak", "spells": "streaks", "beacon": "hang_dump", "pulse": "heartbeat", "lookout": "stack_requests",
    "shim": "supervisor", "papers": "documents", "happening": "incident_event", "unheard": "above_all_before",
    "lifted": "short_mean_high", "knob": "setting", "knobs": "settings", "tally": "counts", "wolves": "false_alarms",
    "cried": "false_alarms", "obey": "carry_out", "judged": "assessed", "breaker": "fail_open",
    "trimming": "sanitize", "marks": "annotations", "notes": "remarks",
}  # fmt: skip

# Still there, and why. Nothing may be added; a name that is gone leaves the list.
REMAINING: dict[str, str] = {
    "notes": "a field of Diagnosis that stored states have",
    "marks": "the marks of a chart are what SVG calls them",
    "_marks": "as marks",
    "MARKS": "as marks",
}


def names_in(tree: ast.AST) -> Iterator[str]:
    """Every name that the file gives or uses."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name
            case ast.keyword(arg=str(name)):
                yield name


def replaced_words(name: str) -> set[str]:
    return {part.lower() for part in PARTS.findall(name)} & REPLACED.keys()


@pytest.mark.parametrize("package", PACKAGES)
def test_no_name_is_made_of_a_replaced_word(package: str) -> None:
    found = {
        f"{path.relative_to(ROOT)}: {name} (write: {', '.join(REPLACED[word] for word in sorted(words))})"
        for path in sorted((ROOT / package).rglob("*.py"))
        for name in {path.stem, *names_in(ast.parse(path.read_text()))}
        if (words := replaced_words(name)) and name not in REMAINING
    }
    assert not found, "\n".join(sorted(found))


def test_every_exception_is_still_needed() -> None:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    used = {name for path in files for name in names_in(ast.parse(path.read_text()))}
    assert not REMAINING.keys() - used
