"""`trainwarden tune`: labelled logs in; a table, a picture and a policy out."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from monitor.cli import execute
from monitor.cli.policy import read_policy


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six healthy logs, and three whose loss rises by half for ten rows: too little for the default limit on it."""
    folder = tmp_path_factory.mktemp("logs")
    lines = ["path,label,onset,group"]
    for i in range(9):
        draw, bad = random.Random(i), i % 3 == 0
        rows = [
            2.0 * math.exp(0.1 * draw.gauss(0, 1)) * (1.5 if bad and 200 <= row < 210 else 1.0) for row in range(300)
        ]
        table = "step,loss\n" + "".join(f"{row},{loss:.5f}\n" for row, loss in enumerate(rows))
        (folder / f"{i}.csv").write_text(table)
        lines.append(f"{i}.csv,{'spike' if bad else 'healthy'},{200 if bad else ''},g{i}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder / "labels.csv"


def test_what_was_chosen_is_printed_drawn_and_written(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy, picture = tmp_path / "policy.yaml", tmp_path / "curve.svg"
    arguments = ["tune", "--labels", str(labels), "--try", "loss_spike.spreads=3.5", "--folds", "3"]
    assert execute([*arguments, "--output", str(policy), "--picture", str(picture)]) == 0
    out = capsys.readouterr().out
    assert "6 healthy and 3 bad runs of 9 groups, 3 folds (seed 0), 2 points of 1 setting tried" in out
    assert "held out: bad runs found" in out
    assert picture.read_text().startswith("<svg ")
    assert execute(["policy", "check", str(policy)]) == 0
    assert read_policy(str(policy))[1].detectors.loss_spike.spreads in (3.5, 8.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--detector", "los_spike"], "'los_spike': is not a detector; there are"),
        (["--try", "loss_spike.spreads"], "--try loss_spike.spreads: write DETECTOR.SETTING=VALUE,VALUE"),
    ],
)
def test_a_setting_that_there_is_none_of_is_named(
    arguments: list[str], said: str, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["tune", "--labels", str(labels), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_search_needs_runs_of_both_kinds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "labels.csv").write_text("path,label\na.csv,healthy\n")
    assert execute(["tune", "--labels", str(tmp_path / "labels.csv")]) == 2
    assert "the search needs healthy and bad runs" in capsys.readouterr().err
