"""The three passes of the core: only `state` writes facts, the policy writes its ledger, detectors write nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.core.state.ledger import Ledger
from monitor.core.state.run import RunState, TrainingState

CORE = Path(__file__).resolve().parents[2] / "monitor" / "core"
FACTS = {*RunState.__struct_fields__, *TrainingState.__struct_fields__} - {"ledger"}
CHANGERS = {"append", "extend", "insert", "remove", "pop", "clear", "update", "setdefault", "popitem", "sort"}


def files(package: str) -> list[Path]:
    return sorted((CORE / package).rglob("*.py"))


def written(tree: ast.AST) -> Iterator[ast.expr]:
    """Every place that a file assigns to, deletes from, or calls a changing method of."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            yield from (target for each in node.targets for target in unpacked(each))
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            yield node.target
        elif isinstance(node, ast.Delete):
            yield from node.targets
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGERS:
            yield node.func.value


def unpacked(target: ast.expr) -> Iterator[ast.expr]:
    if isinstance(target, ast.Tuple | ast.List):
        for each in target.elts:
            yield from unpacked(each)
    else:
        yield target


def chain(node: ast.expr) -> list[str]:
    """["tx", "training", "ledger", "pending"] of `tx.training.ledger.pending[0]`."""
    if isinstance(node, ast.Subscript | ast.Starred):
        return chain(node.value)
    if isinstance(node, ast.Attribute):
        return [*chain(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else []


def facts_written(source: str) -> list[str]:
    """Writes to a fact of a run or a training. A ledger and its incidents are the policy's own."""
    found = []
    for target in written(ast.parse(source)):
        names = chain(target)
        if {"ledger", "incident"} & set(names):
            continue
        through_state = any(name in ("run", "training", "rank", "checkpoint") for name in names[:-1])
        if through_state and (set(names[1:]) & FACTS or names[0] in ("rank", "checkpoint")):
            found.append(".".join(names))
    return found


@pytest.mark.parametrize("path", files("policy"), ids=lambda path: path.stem)
def test_the_policy_writes_no_fact(path: Path) -> None:
    assert facts_written(path.read_text()) == []


def test_a_written_fact_would_be_found() -> None:
    assert facts_written("tx.training.phase = 'train'") == ["tx.training.phase"]
    assert facts_written("run.alive, x = True, 1") == ["run.alive"]
    assert facts_written("training.epochs[-1:].append(row)") == ["training.epochs"]
    assert facts_written("del tx.training.checkpoints[:3]") == ["tx.training.checkpoints"]
    assert facts_written("rank.counts = counts") == ["rank.counts"]
    assert (
        facts_written("tx.training.ledger.pending = None\ntx.ledger.copies.kept = ()\nincident.watch.seen += 1") == []
    )


@pytest.mark.parametrize("path", files("detectors"), ids=lambda path: path.stem)
def test_a_detector_reads_nothing_of_the_policy_and_writes_nothing(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "ledger"]
    assert not [names for target in written(tree) if (names := chain(target))[:1] == ["run"]]


@pytest.mark.parametrize("path", files("state"), ids=lambda path: path.stem)
def test_the_state_writes_no_ledger(path: Path) -> None:
    owned = set(Ledger.__struct_fields__)
    touched = [names for target in written(ast.parse(path.read_text())) if "ledger" in (names := chain(target))]
    assert not [names for names in touched if set(names) & owned]
