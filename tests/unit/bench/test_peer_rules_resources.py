"""Peers' rules on time, silence and memory: each fires where its description says, and not before."""

from __future__ import annotations

import random

from tests.bench.peers.hangs import DlroverHang, NvrxComputed, NvrxDefault
from tests.bench.peers.memory import MB, GpulseLeak, StormlogLeak
from tests.bench.peers.p0_watcher import P0Slow
from tests.bench.peers.pace import Eroica, NvrxStraggler
from tests.harness.records import phase
from tests.unit.bench.peers import alarms, wavy


def test_eroica_fires_when_fifty_iterations_are_five_percent_over_the_best_fifty() -> None:
    assert alarms(Eroica(), times=[0.1] * 100 + [0.104] * 100) == []
    found = alarms(Eroica(), times=[0.1] * 100 + [0.111] * 50)
    assert found[0] == 122


def test_eroica_fires_on_five_times_the_average_done_or_still_waited_for() -> None:
    rule = Eroica()
    assert alarms(rule, times=[0.1] * 60) == []
    assert not rule.on_silence(0.4)
    assert rule.on_silence(0.6)
    rule.on_event(phase("validate"))
    assert not rule.on_silence(60.0)
    assert alarms(Eroica(), times=[0.1] * 60 + [0.6])[0] == 60


def test_the_nvrx_score_is_reported_every_five_minutes_against_the_best_one() -> None:
    assert alarms(NvrxStraggler(), times=[1.0] * 700 + [1.2] * 700) == []
    found = alarms(NvrxStraggler(), times=[1.0] * 601 + [1.5] * 500)
    assert len(found) == 2
    assert found[0] == 800


def test_p0_compares_thirty_steps_with_the_median_of_the_runs_beginning() -> None:
    assert alarms(P0Slow(), times=[1.0] * 300 + [1.2] * 100) == []
    assert alarms(P0Slow(), times=[1.0] * 300 + [1.3] * 100)[0] == 315


def test_nvrx_gives_an_hour_to_the_first_heartbeat_and_45_minutes_to_the_others() -> None:
    rule = NvrxDefault()
    assert not rule.on_silence(3000.0)
    assert rule.on_silence(3601.0)
    alarms(rule, [1.0])
    assert rule.on_silence(2701.0)


def test_nvrx_computes_five_times_the_longest_wait_once_a_pause_is_over() -> None:
    rule = NvrxComputed()
    alarms(rule, times=[0.1] * 200)
    assert not rule.on_silence(100.0)
    rule.on_event(phase("validate"))
    assert not rule.on_silence(100.0)
    alarms(rule, times=[0.1] * 30 + [2.0] + [0.1] * 60)
    assert not rule.on_silence(9.9)
    assert rule.on_silence(10.5)


def test_dlrover_waits_ten_minutes() -> None:
    assert not DlroverHang().on_silence(600.0)
    assert DlroverHang().on_silence(601.0)


def test_gpulse_fires_on_a_straight_line_up_once_it_has_five_minutes() -> None:
    found = alarms(GpulseLeak(), allocated=[4000 * MB + 2 * MB * at for at in range(400)])
    assert found[0] == 299
    slow = [4000 * MB + MB // 2 * at for at in range(400)]
    assert alarms(GpulseLeak(), allocated=slow) == []


def test_gpulse_does_not_take_noise_for_a_line_but_a_rise_of_a_fifth_for_a_leak() -> None:
    draw = random.Random(3)
    noise = [4000 * MB + int(300 * MB * draw.random()) for _ in range(600)]
    assert alarms(GpulseLeak(), allocated=noise) == []
    found = alarms(GpulseLeak(), allocated=[4000 * MB] * 100 + [5000 * MB] * 5)
    assert found[0] == 100


def test_stormlog_needs_both_the_share_of_growing_calls_and_a_hundred_megabytes() -> None:
    assert alarms(StormlogLeak(), allocated=[4000 * MB + MB // 20 * at for at in range(1500)]) == []
    assert alarms(StormlogLeak(), allocated=[4000 * MB] * 500 + [4200 * MB] * 500) == []
    found = alarms(StormlogLeak(), allocated=[4000 * MB + MB * at for at in range(200)])
    assert found[0] == 100


def test_pace_rules_say_nothing_of_a_training_whose_times_are_not_known() -> None:
    for make in (Eroica, NvrxStraggler, P0Slow):
        assert not make().on_silence(10.0)
    assert alarms(StormlogLeak(), wavy(300)) == []
