"""Two runs side by side, each under its own `trainwarden run`, one daemon for both."""

from __future__ import annotations

import re
from pathlib import Path

from tests.harness.night_run import NightRun, processes_in, trainwarden


def daemons_of(home: Path) -> list[int]:
    return [pid for pid in processes_in(home) if b"\0-m\0monitor\0serve\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_of_two_runs_one_is_rolled_back_and_the_other_is_untouched(home: Path, checkpoints: Path) -> None:
    """Started at the same moment: they race for the daemon, too."""
    ill = NightRun(home, checkpoints, run="ill")
    well = NightRun(home, checkpoints, "--bad", "", run="well")
    ill.until_says("incident 1 opened")
    well.until_says("training 1 started")
    assert len(daemons_of(home)) == 1
    assert (ill.wait(), well.wait()) == (0, 0)
    assert (ill.plans(), ill.target_epoch(), ill.folder.last_generation()) == (["plan-2.json"], 3, 2)
    assert (well.plans(), well.folder.last_generation()) == ([], 1)
    assert ill.rows() == well.rows() == ["1", "2", "3", "4", "5", "6"]
    assert not list(well.folder.root.glob("applied-*"))
    assert "incident" not in well.shown
    assert "not finite" not in well.shown
    ports = [set(re.findall(r"http://127.0.0.1:(\d+)/metrics", run.shown)) for run in (ill, well)]
    assert ports[0] == ports[1], "two daemons"
    rows = {line.split()[0]: line for line in trainwarden(home, "status").stdout.splitlines() if "finished" in line}
    assert rows.keys() == {"ill", "well"}
