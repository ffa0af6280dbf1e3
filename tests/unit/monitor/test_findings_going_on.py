"""What detectors are saying now, as status and reports tell it."""

from __future__ import annotations

import random

import msgspec
import pytest

from monitor.cli.status import detail_lines
from monitor.core.model import RunEnded, Severity
from monitor.core.state.ongoing_findings import STREAK_GAP_BATCHES, going_on
from monitor.daemon.api.snapshots import run_summary_of
from tests.harness.streams import Stream, calm
from tests.unit.monitor.cli.test_show import DETAIL
from trainer_hooks.wire.messages import SettingChanged


@pytest.fixture
def stream() -> Stream:
    """One that has just been told of a change that nothing explains."""
    stream = Stream()
    calm(stream, 100, random.Random(1))
    _change(stream)
    return stream


def _change(stream: Stream) -> None:
    stream.event(SettingChanged(0.0, 1, 100, "weight_decay/all", "0.1", "0.3", ""))


def _names(stream: Stream) -> list[str]:
    return [finding.detector for finding in going_on(stream.run)]


def test_a_finding_goes_on_until_its_spell_is_over(stream: Stream) -> None:
    draw = random.Random(2)
    assert _names(stream) == ["settings_unexplained"]
    calm(stream, STREAK_GAP_BATCHES, draw)
    assert _names(stream) == ["settings_unexplained"]
    calm(stream, 1, draw)
    assert _names(stream) == []


def test_a_spell_that_goes_on_tells_of_its_first_finding(stream: Stream) -> None:
    draw = random.Random(2)
    for _ in range(3):
        calm(stream, 200, draw)
        _change(stream)
    (finding,) = going_on(stream.run)
    assert finding.at.count == 100


def test_nothing_goes_on_in_another_generation_or_after_the_end(stream: Stream) -> None:
    stream.restart()
    assert _names(stream) == []
    _change(stream)
    assert _names(stream) == ["settings_unexplained"]
    stream.put(RunEnded("s", "finished", ""))
    assert _names(stream) == []


def test_the_worst_comes_first(stream: Stream) -> None:
    for _ in range(4):
        stream.batch(float("nan"))
    severities = [finding.severity for finding in going_on(stream.run)]
    assert severities[0] is Severity.CRITICAL
    assert severities == sorted(severities, key=list(Severity).index, reverse=True)


def test_status_tells_each_with_its_rule_and_onset(stream: Stream) -> None:
    summary = run_summary_of(stream.run)
    lines = dict(detail_lines(msgspec.structs.replace(DETAIL, summary=summary), now_s=stream.now_s))
    assert lines["findings"].startswith("warning: weight_decay/all changed from 0.1 to 0.3")
    assert lines["findings"].endswith("(settings_unexplained, since epoch 1, batch 99)")
    assert dict(detail_lines(DETAIL, now_s=0.0))["findings"] == "none now"
