"""Texts for people use the words of docs/glossary.md, and none of the private words that it replaces."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from monitor.policyfile.load import schema_text

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (
    "monitor/cli", "monitor/report", "monitor/core", "monitor/client", "monitor/policyfile", "monitor/vault",
    "monitor/recorded", "monitor/history", "monitor/daemon", "monitor/demo", "monitor/supervisor", "alerts",
)  # fmt: skip
DOCUMENTS = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))
GLOSSARY = ROOT / "docs" / "glossary.md"

# Pattern -> what to write instead. STYLE's tables and docs/glossary.md give the reasons.
REPLACED = {
    r"\b(told|tells?|tell) (of|how)\b": "report, say, describe",
    r"\bonly tells?\b|\bonly told\b": "only alerts",
    r"\b(be|is|are|was|not|runs|healthy|bad|has) told\b": "reported, recorded",
    r"\bput(s|ting)? right\b": "repaired",
    r"\bcondemn(s|ed)?\b": "name what happens to the file",
    r"\bcr(y|ied|ies) wol(f|ves)\b|\bwolves\b": "false alarm",
    r"\bpapers\b": "documents, files",
    r"\bbeacon\b": "hang dump",
    r"\blookout\b": "stack inspection",
    r"\bunheard\b": "name what was not received",
    r"\bspells?\b": "streak",
    r"\brungs?\b": "action, step",
    r"\bshim\b": "supervisor",
    r"\b(a|one|each|this) turn\b": "transaction, step",
    r"\bcoin-?flip\b": "uncertain",
    r"\bobey(s|ed|ing)?\b": "carry out",
    r"\b(knobs?|tally|pulse|gist)\b": "setting, counts, heartbeat, summary",
    r"(?<!\bthere )\b(is|are|was|were) no (?!longer|more\b|one\b)": "is not a",
    r"\bunder way\b": "has begun",
    r"\bnothing is done\b": "no action",
}

# Texts that may keep a replaced word, each with its reason. Keep this list short.
ALLOWED = {"`rung` is now `action`": "an old field's name, for whoever reads it"}
ON_DISK = {"spell", "spells", "rung", "lifted", "story"}  # fields of stored states keep the names they began with

# Places whose texts are still to be rewritten, each with its reason. Nothing may be added here.
NOT_YET: dict[str, str] = {}


def literals(file: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every string a user can read: literals, and the docstrings that click prints as help."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    hidden = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and not _is_command(node):
                hidden.add(id(first.value))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in hidden:
            yield node.lineno, node.value


def _is_command(node: ast.AST) -> bool:
    return any("command" in ast.unparse(d) or "group" in ast.unparse(d) for d in getattr(node, "decorator_list", ()))


@cache
def texts() -> list[tuple[str, str]]:
    """Where each text stands, and the text."""
    return list(_texts())


def _texts() -> Iterator[tuple[str, str]]:
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for line, text in literals(file):
                yield f"{file.relative_to(ROOT)}:{line}", text
    for file in DOCUMENTS:
        if file != GLOSSARY:  # it names the words that it replaces
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                yield f"{file.relative_to(ROOT)}:{number}", line
    for place, text in descriptions(json.loads(schema_text()), "policy schema"):
        yield place, text


def descriptions(node: Any, place: str) -> Iterator[tuple[str, str]]:
    """Every description in a JSON schema."""
    if isinstance(node, dict):
        if isinstance(node.get("description"), str):
            yield place, node["description"]
        for key, child in node.items():
            yield from descriptions(child, f"{place}/{key}")
    elif isinstance(node, list):
        for child in node:
            yield from descriptions(child, place)


@pytest.mark.parametrize("pattern", REPLACED)
def test_no_text_for_people_uses_a_replaced_word(pattern: str) -> None:
    search = re.compile(pattern, re.IGNORECASE)
    found = [
        f"{place}: {' '.join(text.split())[:150]}"
        for place, text in texts()
        if search.search(text)
        and text not in ON_DISK
        and not any(allowed in text for allowed in ALLOWED)
        and not place.startswith(tuple(NOT_YET))
    ]
    assert not found, f"write: {REPLACED[pattern]}\n" + "\n".join(found)


def test_every_exception_is_still_needed() -> None:
    everything = [text for _, text in texts()]
    assert not [allowed for allowed in ALLOWED if not any(allowed in text for text in everything)]
