"""A user's own `monitor.py` and `alerts.py` beside train.py: theirs for their script, ours for us."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.harness.night_run import ROOT, NightRun, processes_in

TRAIN = f"""\
import alerts
import monitor
print("the script has", monitor.WHOSE, alerts.WHOSE, flush=True)

import sys
sys.path.append({str(ROOT)!r})  # last: for the training that the tests bring
from tests.harness.plain_training import main
main()
"""


@pytest.mark.parametrize("path", [".", ""], ids=["PYTHONPATH=.", "no PYTHONPATH"])
def test_a_users_own_monitor_and_alerts_are_theirs_and_a_rollback_works(
    path: str, home: Path, checkpoints: Path, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    for name in ("monitor", "alerts"):
        (tmp_path / f"{name}.py").write_text(
            f"WHOSE = \"the user's {name}\"\nprint('{name} of the user', flush=True)\n"
        )
    run = NightRun(home, checkpoints, command=[sys.executable, "train.py"], cwd=tmp_path, PYTHONPATH=path)
    run.until_says("monitors run")
    assert len(processes_in(home)) >= 2
    assert run.wait() == 0, run.shown
    lives = 2
    assert run.shown.count("the script has the user's monitor the user's alerts") == lives
    assert run.shown.count("monitor of the user") == lives, "somebody else imported the user's file"
    assert run.shown.count("alerts of the user") == lives
    assert "of the user" not in (home / "daemon-start.log").read_text()
    assert (run.plans(), run.target_epoch()) == (["plan-2.json"], 3)
