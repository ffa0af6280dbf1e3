"""`python -m tests.bench.detection`: tables on the terminal, Markdown and JSON in files, an exit code for the aims."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench.detection.command import bench

SMALL = ["--quick", "--only", "numerical", "--no-peers"]


def test_a_small_bench_says_what_was_found_and_ends_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    markdown, as_json = tmp_path / "told.md", tmp_path / "told.json"
    assert bench([*SMALL, "--markdown", str(markdown), "--json", str(as_json)]) == 0
    captured = capsys.readouterr()
    assert "| NaN or infinity reported on its batch" in captured.out
    assert "playing: numerical" in captured.err
    assert "| numerical | NaN in the loss | high | 1 batch | 1 | 1 after 0 |" in markdown.read_text()
    told = json.loads(as_json.read_text())
    assert told["errors"] == []
    nan = next(
        c for c in told["faults"] if (c["fault"], c["lasts"], c["level"]) == ("NaN in the loss", "1 batch", "info")
    )
    assert nan["recall"]["within"] == [1, 1, 1, 1, 1]


def test_a_hidden_seed_is_drawn_anew_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    seeds = set()
    for _ in range(2):
        bench(["--quick", "--only", "telemetry", "--no-peers", "--hidden-seed"])
        seeds.add(capsys.readouterr().err.split("seed ")[1].split(";")[0])
    assert len(seeds) == 2


@pytest.mark.parametrize(
    ("module", "why"), [("no.such.module", "can't be imported"), ("json", "has no RULES")], ids=["absent", "without"]
)
def test_a_module_without_rules_is_refused_in_one_sentence(
    module: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(["--quick", "--only", "telemetry", "--peers", module]) == 2
    assert f"--peers {module}: {why}" in capsys.readouterr().err
