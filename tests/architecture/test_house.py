"""The house is easy to find one's way in: no loose files, no name twice, nothing long without a reason."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("monitor", "trainer_hooks", "alerts")
LOOSE = {"__init__.py", "__main__.py", "errors.py", "py.typed"}
SAME_EVERYWHERE = {"__init__.py", "__main__.py", "sitecustomize.py"}  # names that Python asks for
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "shared"}
INTEGRATIONS = "trainer_hooks/integrations/"  # one folder a trainer: the same thing has the same name in each

FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 400

# Longer than that, each with its reason. Nothing may be added without one, and what has become shorter leaves.
LONG_FUNCTIONS: dict[str, str] = {}
LONG_FILES: dict[str, str] = {}


@cache
def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def repeated(names: Iterator[tuple[str, Path]]) -> dict[str, list[str]]:
    """The names that stand in several files; those of the integrations count as one."""
    where = defaultdict(set)
    for name, path in names:
        file = relative(path)
        where[name].add(INTEGRATIONS if file.startswith(INTEGRATIONS) else file)
    return {name: sorted(files) for name, files in where.items() if len(files) > 1}


def definitions(path: Path) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_file_is_loose_in_the_monitor() -> None:
    assert {path.name for path in (ROOT / "monitor").iterdir() if path.is_file()} == LOOSE


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_name_stands_twice_in_a_package(package: str) -> None:
    names = ((path.name, path) for path in sources(package) if path.name not in SAME_EVERYWHERE)
    assert repeated(names) == {}, "name each file by what it is for"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_class_name_stands_twice_in_a_package(package: str) -> None:
    names = (
        (node.name, path)
        for path in sources(package)
        for node in definitions(path)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert repeated(names) == {}, "name each class by what it is"


@pytest.mark.parametrize("package", [*PACKAGES, "tests"])
def test_no_file_name_says_nothing(package: str) -> None:
    assert [relative(path) for path in sources(package) if {path.stem, path.parent.name} & VAGUE] == []


def test_a_long_function_has_a_reason_and_the_list_gets_shorter() -> None:
    long = {
        f"{relative(path)}:{node.name}"
        for package in PACKAGES
        for path in sources(package)
        for node in definitions(path)
        if not isinstance(node, ast.ClassDef) and (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES_MAX
    }
    assert long == set(LONG_FUNCTIONS)


def test_a_long_file_has_a_reason_and_the_list_gets_shorter() -> None:
    long = {
        relative(path)
        for package in PACKAGES
        for path in sources(package)
        if len(path.read_text().splitlines()) > FILE_LINES_MAX
    }
    assert long == set(LONG_FILES)
