"""What detectors are saying now, as status and reports tell it."""

from __future__ import annotations

import random

import msgspec
import pytest

from monitor.cli.status_command import detail_lines
from monitor.core.model import RunEnded, Severity
from monitor.core.state.finding_log import STREAK_GAP_BATCHES, going_on
from monitor.daemon.api.snapshots import run_summary_of
from tests.harness.simulation import Simulation, calm
from tests.unit.monitor.cli.test_show import DETAIL
from trainer_hooks.wire.messages import SettingChanged


@pytest.fixture
def training() -> Simulation:
    """One that just got a change that nothing explains."""
    started = Simulation()
    calm(started, 100, random.Random(1))
    _change(started)
    return started


def _change(training: Simulation) -> None:
    training.send(SettingChanged(0.0, 1, 100, "weight_decay/all", "0.1", "0.3", ""))


def _names(training: Simulation) -> list[str]:
    return [finding.detector for finding in going_on(training.run, training.run.training)]


def test_a_finding_goes_on_until_its_spell_is_over(training: Simulation) -> None:
    draw = random.Random(2)
    assert _names(training) == ["settings_unexplained"]
    calm(training, STREAK_GAP_BATCHES, draw)
    assert _names(training) == ["settings_unexplained"]
    calm(training, 1, draw)
    assert _names(training) == []


def test_a_spell_that_goes_on_tells_of_its_first_finding(training: Simulation) -> None:
    draw = random.Random(2)
    for _ in range(3):
        calm(training, 200, draw)
        _change(training)
    (finding,) = going_on(training.run, training.run.training)
    assert finding.at.count == 100


def test_nothing_goes_on_in_another_generation_or_after_the_end(training: Simulation) -> None:
    training.restart()
    assert _names(training) == []
    _change(training)
    assert _names(training) == ["settings_unexplained"]
    training.feed(RunEnded("night", "finished", ""))
    assert _names(training) == []


def test_the_worst_comes_first(training: Simulation) -> None:
    for _ in range(4):
        training.batch(float("nan"))
    severities = [finding.severity for finding in going_on(training.run, training.run.training)]
    assert severities[0] is Severity.CRITICAL
    assert severities == sorted(severities, key=list(Severity).index, reverse=True)


def test_status_tells_each_with_its_rule_and_onset(training: Simulation) -> None:
    summary = run_summary_of(training.run)
    lines = dict(detail_lines(msgspec.structs.replace(DETAIL, summary=summary), now_s=training.now_s))
    assert lines["findings"].startswith("warning: weight_decay/all changed from 0.1 to 0.3")
    assert lines["findings"].endswith("(settings_unexplained, since epoch 1, batch 99)")
    assert dict(detail_lines(DETAIL, now_s=0.0))["findings"] == "none now"
