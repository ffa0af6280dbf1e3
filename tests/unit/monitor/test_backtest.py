"""A recorded run through the core: what fires at which row, what the policy would have done, and the sums."""

from __future__ import annotations

import random

import pytest

from monitor.core.detectors.nonfinite_burst import NonfiniteBurstConfig
from monitor.core.model import Severity
from monitor.core.policy.settings import Detectors, Policy
from monitor.recorded.backtest import Result, backtest, totals
from monitor.recorded.importers import read_log


def log_of(rows: int, bad: dict[int, str], *, per_epoch: int = 100, seed: int = 7) -> bytes:
    """A calm log of a falling loss with other texts in the loss column of some rows."""
    noise = random.Random(seed)
    lines = ["step,epoch,loss,grad_norm"]
    for i in range(rows):
        loss = bad.get(i, f"{2.0 * 0.9995**i + noise.gauss(0, 0.02):.5f}")
        lines.append(f"{i + 1},{i // per_epoch},{loss},{1 + noise.random():.4f}")
    return ("\n".join(lines) + "\n").encode()


def result_of(rows: int, bad: dict[int, str], policy: Policy | None = None) -> Result:
    return backtest(read_log(log_of(rows, bad), "a.csv"), policy or Policy())


def criticals(result: Result) -> list[tuple[str, int, int]]:
    return [(f.source, f.row, f.since_row) for f in result.fired if f.severity is Severity.CRITICAL]


def test_a_calm_run_is_quiet() -> None:
    result = result_of(600, {})
    assert (result.rows, result.nonfinite_rows, result.fired, result.decisions) == (600, 0, [], [])
    assert result.worst is None


def test_a_burst_fires_at_its_third_row_and_is_dated_to_its_first() -> None:
    result = result_of(600, {400: "nan", 420: "nan", 440: "inf"})
    assert ("nonfinite_burst", 440, 400) in criticals(result)
    (fired,) = [f for f in result.fired if f.source == "nonfinite_burst"]
    assert (fired.step, fired.epoch, fired.line) == (441, 5, 442)
    assert result.worst is Severity.CRITICAL


def test_one_bad_row_is_a_warning_of_the_log_itself() -> None:
    result = result_of(300, {200: "nan"})
    assert criticals(result) == []
    assert ("log: not finite", 200) in [(f.source, f.row) for f in result.fired]
    assert result.worst is Severity.WARNING


def test_the_policy_would_go_back_to_the_newest_checkpoint_before_the_onset() -> None:
    result = result_of(600, {450: "nan", 451: "nan", 452: "nan"})
    (decision,) = result.decisions
    assert (decision.action, decision.row, decision.rows_after) == ("rollback", 452, 147)
    assert (decision.onset_row, decision.redone_rows) == (450, 53)
    assert decision.reason == "the state is damaged: nothing skipped the step of a bad batch"


def test_without_a_checkpoint_the_policy_would_stop() -> None:
    (decision,) = result_of(90, {50: "nan", 51: "nan", 52: "nan"}).decisions
    assert decision.action == "stop"
    assert "there is no clean checkpoint" in decision.reason


def test_a_policy_that_may_not_act_would_only_watch() -> None:
    (decision,) = result_of(90, {50: "nan", 51: "nan", 52: "nan"}, Policy(act=False)).decisions
    assert decision.action == "watch"


def test_the_policys_settings_decide() -> None:
    strict = Policy(detectors=Detectors(nonfinite_burst=NonfiniteBurstConfig(count=2)))
    bad = {200: "nan", 250: "nan"}
    assert criticals(result_of(300, bad)) == []
    assert criticals(result_of(300, bad, strict)) == [("nonfinite_burst", 250, 200)]


def test_a_restart_is_judged_afresh() -> None:
    """Two bad rows before the restart and one after are no burst: the window is the new process's."""
    first = log_of(200, {190: "nan", 195: "nan"}).decode()
    again = log_of(200, {3: "nan"}).decode().partition("\n")[2]
    result = backtest(read_log((first + again).encode(), "a.csv"), Policy())
    assert result.generations == 2
    assert criticals(result) == []
    assert [f.row for f in result.fired if f.source == "log: restart"] == [200]


def test_the_same_log_gives_the_same_result() -> None:
    bad = {100: "nan", 101: "nan", 102: "nan", 400: "9.0"}
    assert result_of(500, bad) == result_of(500, bad)


def test_sums_count_warnings_and_worse_as_alarms() -> None:
    summed = totals(
        [result_of(500, {}), result_of(300, {200: "nan"}), result_of(200, {50: "nan", 51: "nan", 52: "nan"})]
    )
    assert (summed.runs, summed.rows, summed.runs_warned, summed.runs_critical) == (3, 1000, 2, 1)
    assert summed.alarms_per_million_rows == pytest.approx(summed.alarms * 1000)


def test_sums_of_nothing_are_nothing() -> None:
    assert totals([]).alarms_per_million_rows == 0
