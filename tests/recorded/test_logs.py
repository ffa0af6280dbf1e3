"""The default policy over labelled logs of real trainings, against what it was measured to say of them.

The logs are not ours to ship: the folder that TRAINWARDEN_LOGS names, or `shared/logs` beside the checkout, holds them
and an `index.csv` (see tests.bench.backtest_logs, which prints all of it). Longer ones are left to that command.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from monitor.core.model import Severity
from monitor.policyfile.load import policy_from_text, preset
from tests.bench.backtest_logs import Judged, judge

BESIDE = Path(__file__).parents[3] / "shared" / "logs"
HEALTHY_ROWS_MAX = 1000  # of a log: six sevenths of the healthy ones, and of the others most, in a tenth of the rows
ROWS_MAX = 2000


def folder() -> Path:
    named = Path(os.environ.get("TRAINWARDEN_LOGS") or BESIDE)
    if not (named / "index.csv").exists():
        pytest.skip("no labelled logs here: TRAINWARDEN_LOGS names no folder with an index.csv")
    return named


def _short(row: dict[str, str]) -> bool:
    return int(row["rows"] or 0) <= (HEALTHY_ROWS_MAX if row["label"] == "healthy" else ROWS_MAX)


@pytest.fixture(scope="module")
def judged() -> list[Judged]:
    """Every log that is not too long, under the default policy."""
    return judge(folder(), policy_from_text(preset("default"), "default"), _short)


def of(judged: list[Judged], *labels: str) -> list[Judged]:
    return [one for one in judged if one.index["label"] in labels and one.result]


def test_all_but_two_can_be_read_and_those_say_which_file_and_why(judged: list[Judged]) -> None:
    unreadable = [one for one in judged if one.result is None]
    assert len(unreadable) <= 2
    assert all(one.why.startswith(f"{one.index['file']}: ") for one in unreadable)


def test_the_core_never_stumbles(judged: list[Judged]) -> None:
    assert sum(one.result.defects for one in judged if one.result) == 0


def test_no_healthy_run_is_acted_upon(judged: list[Judged]) -> None:
    healthy = of(judged, "healthy")
    assert len(healthy) >= 350
    assert not [one.index["file"] for one in healthy if one.result and one.result.worst is Severity.CRITICAL]


def test_fewer_than_one_in_twenty_five_healthy_runs_is_told_of(judged: list[Judged]) -> None:
    healthy = of(judged, "healthy")
    assert sum(one.warned for one in healthy) < len(healthy) / 25


def test_every_run_with_nan_is_told_of_at_its_first_bad_row(judged: list[Judged]) -> None:
    runs = of(judged, "nan")
    assert len(runs) >= 25
    assert [one.index["file"] for one in runs if not one.warned] == []
    counted = [one for one in runs if one.index["nan_onset_row"]]
    assert [o.index["file"] for o in counted if (o.first_alarm_row or 0) > int(o.index["nan_onset_row"])] == []


def test_every_finite_spike_is_told_of(judged: list[Judged]) -> None:
    spikes = of(judged, "spike")
    assert len(spikes) >= 10
    assert [one.index["file"] for one in spikes if not one.warned] == []
