"""Every limit is driven to its end by a test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("trainer_hooks", "alerts", "monitor")
LIMIT = re.compile(r"_?[A-Z][A-Z0-9_]*_MAX(_[A-Z]+)?")
READ = re.compile(r"\b(\w+)\.(_?[A-Z][A-Z0-9_]*_MAX(?:_[A-Z]+)?)\b")  # a limit, through its module
REMEDY = "drive it to its end in tests/bounds, and assert what comes after it and what counts it"


def limits() -> set[str]:
    """`module.NAME` of every constant whose name says that it is a limit."""
    found = set()
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.parse(path.read_text()).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names = [leaf for target in targets if target is not None for leaf in ast.walk(target)]
            found |= {f"{module}.{n.id}" for n in names if isinstance(n, ast.Name) and LIMIT.fullmatch(n.id)}
    return found


def named_in_tests() -> set[str]:
    """`module.NAME` of every limit that a test imports, or reads from the module it imports."""
    found = set()
    for path in (ROOT / "tests").rglob("*.py"):
        if "bench" in path.parts or "mutants" in path.parts:
            continue
        text = path.read_text()
        if "_MAX" not in text:
            continue
        read = set(READ.findall(text))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
                own = {alias.asname or alias.name: alias.name for alias in node.names}
                found |= {f"{node.module}.{own[name]}.{limit}" for name, limit in read if name in own}
    return found


def test_every_limit_is_in_a_test() -> None:
    assert sorted(limits() - named_in_tests()) == [], f"limits that no test names: {REMEDY}"
