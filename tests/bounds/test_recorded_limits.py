"""The limits of a backtest and of a search: what is kept and shown, and that the counts are of everything."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest

from monitor.cli.backtest_output import LINES_MAX, Report, result_lines
from monitor.cli.tune_output import tuned_lines
from monitor.core.model import Severity
from monitor.core.policy.settings import Policy
from monitor.recorded.backtest import Fired, IncidentDecision, Result, backtest, totals
from monitor.recorded.backtest.imported import CHECKPOINTS_MAX, source_of
from monitor.recorded.backtest.own_runs import TICKS_MAX, _ticks
from monitor.recorded.backtest.replay import INFOS_MAX
from monitor.recorded.importers import read_log
from monitor.recorded.importers.imported_run import ImportedRun
from monitor.recorded.tuning.counts import RunAlarms
from monitor.recorded.tuning.search import PASSES_MAX, Tuned, tune
from monitor.recorded.tuning.search_space import Parameter, Point
from tests.unit.monitor.test_backtest import log_of
from tests.unit.monitor.tuning.test_search import AIM, runs
from trainer_hooks.wire.messages import CheckpointSaved


def result_with(alarms: int, infos: int = 0, left_out: int = 0, decisions: int = 0) -> Result:
    fired = [Fired(Severity.WARNING, "d", row, row, 1, row, row, "it says so") for row in range(alarms)]
    fired += [Fired(Severity.INFO, "log: x", row, row, 1, row, row, "it says so") for row in range(infos)]
    decided = [IncidentDecision(row, row, "watch", "why", 1) for row in range(decisions)]
    return Result("a.csv", "csv", "batch", 100, 1, 0, fired, decided, "", infos_left_out=left_out)


def test_alarms_and_decisions_of_a_run_are_shown_up_to_a_limit_and_the_rest_is_counted() -> None:
    most = result_lines(result_with(LINES_MAX, decisions=LINES_MAX))
    assert len(most) == 1 + 2 * LINES_MAX
    assert not any("more" in line and line.startswith("  ...") for line in most)
    over = result_lines(result_with(LINES_MAX + 2, decisions=LINES_MAX + 3))
    assert over[0].startswith(f"a.csv: {LINES_MAX + 2} alarms (")
    assert over[1 + LINES_MAX] == "  ... and 2 more"
    assert over[-1] == "  ... and 3 more decisions of the policy"
    assert len(over) == len(most) + 2


def test_a_run_that_fails_by_its_infos_says_how_many_more_there_were() -> None:
    report = Report([result_with(1, infos=3, left_out=7)], [], None, "info")
    assert report.failures(report.results[0])[-1].strip() == "... and 7 more"
    assert len(Report(report.results, [], None, "warning").failures(report.results[0])) == 1


def restarted(times: int) -> Result:
    """A log of so many restarts, with a row that is not finite in each process: a warning and an info each."""
    one = "".join(f"{row + 1},0,{'nan' if row == 5 else 2.0 - 0.001 * row},1.0\n" for row in range(8))
    return backtest(read_log(("step,epoch,loss,grad_norm\n" + one * times).encode(), "a.csv"), Policy())


@pytest.mark.parametrize("beyond", [0, 60])
def test_infos_are_kept_up_to_a_limit_and_no_alarm_is_cut_away_from_the_counts(beyond: int) -> None:
    result = restarted(INFOS_MAX + beyond)
    infos = [fired for fired in result.fired if fired.severity is Severity.INFO]
    alarms = [fired for fired in result.fired if fired.severity is Severity.WARNING]
    assert (len(infos), result.infos_left_out) == (INFOS_MAX, beyond)
    assert totals([result]).alarms == len(alarms) == INFOS_MAX + beyond
    assert alarms[-1].row == result.rows - 3
    assert result_lines(result)[0].startswith(f"a.csv: {INFOS_MAX + beyond} alarms (")


def epochs_of(count: int) -> ImportedRun:
    run = read_log(log_of(count * 3, {}, per_epoch=3), "a.csv")
    assert isinstance(run, ImportedRun)
    return run


@pytest.mark.parametrize("epochs", [1, CHECKPOINTS_MAX - 1, CHECKPOINTS_MAX, CHECKPOINTS_MAX + 1, 39, 41, 399])
def test_checkpoints_are_supposed_up_to_a_limit_evenly_spread(epochs: int) -> None:
    steps = source_of(epochs_of(epochs), Policy()).steps
    saved = [step.given.epoch for step in steps if isinstance(step.given, CheckpointSaved)]
    assert len(saved) == min(epochs, CHECKPOINTS_MAX)
    between = {later - earlier for earlier, later in itertools.pairwise(saved)}
    assert not between or max(between) - min(between) <= 1


def test_a_long_silence_has_a_limited_number_of_ticks_and_they_reach_its_end() -> None:
    assert list(_ticks(10.0, 10.0 + TICKS_MAX)) == [10.0 + second for second in range(1, TICKS_MAX + 1)]
    coarse = list(_ticks(0.0, 2.5 * TICKS_MAX))
    assert coarse == [2.5 * number for number in range(1, TICKS_MAX + 1)]
    assert len(list(_ticks(0.0, TICKS_MAX + 0.5))) == TICKS_MAX


def climbed(values: int) -> Tuned:
    """Two settings that only get better in turns, each one step ahead of the other: a pass brings each two further."""
    labels = runs(bad=2 * values)

    def evaluate(point: Point) -> Mapping[str, RunAlarms]:
        first, second = map(int, point)
        found = first + second if abs(first - second) <= 1 else 0
        return {name: RunAlarms(label.bad and int(name[1:]) < found, critical=False) for name, label in labels.items()}

    steps = tuple(float(value) for value in range(values))
    parameters = [Parameter("loss_spike", "spreads", steps), Parameter("loss_spike", "ratio", steps)]
    return tune(parameters, labels, evaluate, AIM, folds=2, seed=0, points_max=10_000)


def test_a_search_makes_a_limited_number_of_passes_and_says_that_it_would_have_gone_on() -> None:
    cut = climbed(4 * PASSES_MAX)
    assert cut.chosen == (2.0 * PASSES_MAX - 1, 2.0 * PASSES_MAX)
    assert cut.unsettled
    assert any(f"pass {PASSES_MAX}" in line for line in tuned_lines(cut, AIM))
    done = climbed(2)
    assert done.chosen == (1.0, 1.0)
    assert not done.unsettled
    assert not any("last pass" in line for line in tuned_lines(done, AIM))
