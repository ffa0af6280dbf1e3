"""What the control run calls a ruined training."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.demo.control import ruin_of
from monitor.demo.scene import Scene


def left_behind(folder: Path, passes: str, rows: list[str]) -> Scene:
    scene = Scene(folder)
    scene.fault.mkdir()
    scene.passes.write_text(passes)
    scene.training.mkdir(parents=True)
    (scene.training / "results.csv").write_text("\n".join(["  epoch,  metrics/mAP50(B)", *rows]) + "\n")
    return scene


@pytest.mark.parametrize(
    ("passes", "rows", "code", "holds"),
    [
        ("4,32,overflow\n", ["1,0.1", "2,0.2", "3,0.3"], 1, [True, True]),
        ("4,32,overflow\n", ["1,0.1", "8,0.0"], 0, [True, True]),
        ("4,32,overflow\n", ["1,0.1", "8,nan"], 0, [True, True]),
        ("4,32,overflow\n", ["1,0.1", "8,0.4"], 0, [True, False]),
        ("4,32,finite\n", ["1,0.1"], 1, [False, True]),
        ("", [], 1, [False, True]),
    ],
)
def test_a_training_is_ruined_where_it_aborts_or_finds_nothing(
    passes: str, rows: list[str], code: int, holds: list[bool], tmp_path: Path
) -> None:
    assert [check.holds for check in ruin_of(left_behind(tmp_path, passes, rows), code)] == holds
