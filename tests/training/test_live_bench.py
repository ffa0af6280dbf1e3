"""The live bench as a whole, in its quick form: real children, the real core, real healthy twins."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from monitor.core.policy.settings import Policy
from tests.bench.detection.contenders import AlarmLevel, Trainwarden
from tests.bench.detection.live import cases
from tests.bench.detection.live.children import run_group
from tests.bench.detection.live.experiment import Experiment
from tests.bench.detection.play import Outcome, Stage

pytestmark = [pytest.mark.training, pytest.mark.timeout(600)]

PACE = ("step_time", "throughput", "data_wait")  # a machine that others use too is really slower at times
NONFINITE = ("NaN in one sample", "infinite activation", "NaN in one gradient element")


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    played = []
    for case in cases(1, True):
        assert case.error == ""
        stage = Stage([Trainwarden("default", Policy())])
        stage.play(case.steps)
        played += stage.outcomes(case)
    return played


def test_whatever_is_not_finite_is_found_in_its_own_batch(outcomes: list[Outcome]) -> None:
    bad = [outcome for outcome in outcomes if outcome.case.fault in NONFINITE]
    assert len(bad) == 5
    assert [outcome.alarms[0].batch - (outcome.case.onset or 0) for outcome in bad] == [0] * 5


def test_a_hundredfold_learning_rate_is_told_within_five_batches(outcomes: list[Outcome]) -> None:
    (raised,) = [outcome for outcome in outcomes if outcome.case.fault == "learning rate multiplied"]
    told = [heard.batch for heard in raised.alarms if heard.alarm.level >= AlarmLevel.WARNING]
    assert 0 <= told[0] - (raised.case.onset or 0) <= 5


def test_healthy_trainings_and_the_time_before_a_fault_are_silent(outcomes: list[Outcome]) -> None:
    assert sum(outcome.batches for outcome in outcomes if not outcome.case.faulty) >= 4000
    wolves = [
        (outcome.case.kind, heard)
        for outcome in outcomes
        for heard in outcome.alarms
        if outcome.case.onset is None or heard.batch < outcome.case.onset
        if heard.alarm.source not in PACE
    ]
    assert wolves == []


def test_a_child_ends_when_the_bench_is_killed(tmp_path: Path) -> None:
    text = f"""
from pathlib import Path
from tests.bench.detection.live.children import run_group
from tests.bench.detection.live.experiment import Experiment
run_group([Experiment("mlp", 1, 100_000_000)], Path({str(tmp_path)!r}), 600.0)
"""
    bench = psutil.Popen([sys.executable, "-c", text])
    deadline_s = time.monotonic() + 120.0
    while not (tmp_path / "0.jsonl").exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
    children = bench.children()
    bench.kill()
    bench.wait()
    gone, alive = psutil.wait_procs(children, timeout=60.0)
    assert len(gone) == 1
    assert not alive


def test_a_training_that_raises_is_a_named_error_and_the_next_one_goes_on(tmp_path: Path) -> None:
    broken = Experiment("mlp", 1, 20, fault="no such fault", at=5)
    errors = run_group([broken, Experiment("mlp", 1, 20)], tmp_path, deadline_s=120.0)
    assert errors == ["KeyError: 'no such fault'", ""]
