"""Peers' rules on loss and gradient norm: each fires where its description says, and not before."""

from __future__ import annotations

import math

from tests.bench.peers import RULES
from tests.bench.peers.kill_loss_spike import KillLossSpike
from tests.bench.peers.marin import MarinLossSpike, MarinSkips
from tests.bench.peers.nonfinite import TerminateOnNan, UltralyticsRecovery
from tests.bench.peers.p0_watcher import P0Clip, P0Spike
from tests.bench.peers.packages import Arc, KeepaliveClub, StabilityGuard, TrainPulse
from tests.bench.peers.skip_step import SkipStep, SkipStepFirst
from tests.bench.peers.spikes import ByteRobust, Guarftrain, LightningSpike, MegatronRerun, SpikeScore, ZClip
from tests.unit.bench.peers import alarms, epoch_ended, started, wavy

NAN = math.nan


def test_every_rule_has_a_name_of_its_own_and_a_source_and_is_silent_on_a_flat_training() -> None:
    rules = [make() for make in RULES]
    assert len({rule.name for rule in rules}) == len(rules)
    for rule in rules:
        assert rule.source
        assert not rule.on_event(started())
        assert alarms(rule, wavy(1500), norms=wavy(1500, 3.0), times=wavy(1500, 0.2, 0.01), clip_norm=10.0) == []


def test_terminate_on_nan_fires_on_the_batch_itself_and_again_on_the_next() -> None:
    assert alarms(TerminateOnNan(), [1.0, NAN, math.inf, 1.0]) == [1, 2]


def test_ultralytics_looks_only_at_the_last_batch_of_an_epoch() -> None:
    rule = UltralyticsRecovery()
    assert alarms(rule, [1.0, NAN, 1.0]) == []
    assert not rule.on_event(epoch_ended())
    assert alarms(rule, [1.0, NAN]) == []
    assert rule.on_event(epoch_ended())


def test_kill_loss_spike_waits_for_the_fifth_loss_at_twice_the_mean_of_a_full_window() -> None:
    assert alarms(KillLossSpike(), [2.0] * 100 + [9.0] * 4 + [2.0] * 20) == []
    assert alarms(KillLossSpike(), [2.0] * 99 + [9.0] * 5) == []
    assert alarms(KillLossSpike(), [2.0] * 100 + [9.0] * 5) == [104]


def test_kill_loss_spike_takes_a_twentieth_of_a_long_run_as_its_window() -> None:
    rule = KillLossSpike()
    rule.on_event(started(epochs=10, batches_per_epoch=1000))
    assert alarms(rule, [2.0] * 499 + [9.0] * 5) == []


def test_kill_loss_spike_is_blind_while_a_nan_is_in_its_window() -> None:
    assert alarms(KillLossSpike(), [2.0] * 100 + [NAN] + [9.0] * 20) == []


def test_kill_loss_spike_fires_when_half_of_the_window_is_above_the_highest_loss_of_the_first() -> None:
    found = alarms(KillLossSpike(), [2.0] * 200 + [3.0] * 60)
    assert found[0] == 250


def test_skip_step_rejects_six_sigma_of_loss_or_norm_after_64_batches() -> None:
    assert alarms(SkipStep(), [*wavy(40), 50.0]) == []
    assert alarms(SkipStep(), [*wavy(128), 2.1, 50.0, *wavy(5)]) == [129]
    assert alarms(SkipStep(), norms=[*wavy(128), 50.0]) == [128]


def test_skip_step_loses_one_step_to_a_nan_and_lost_129_when_it_was_first_shipped() -> None:
    losses = [*wavy(200), NAN, *wavy(200)]
    assert alarms(SkipStep(), losses) == [200]
    assert alarms(SkipStepFirst(), losses) == list(range(200, 329))


def test_marin_stays_quiet_for_a_spike_and_fires_for_a_level_that_lasts_five_minutes() -> None:
    calm = wavy(600)
    assert alarms(MarinLossSpike(), [*calm, 9.0, *wavy(60)], every_s=5.0) == []
    found = alarms(MarinLossSpike(), calm + wavy(120, 2.9), every_s=5.0)
    assert 660 <= found[0] <= 672


def test_marin_fires_within_a_minute_of_a_nan() -> None:
    found = alarms(MarinLossSpike(), [*wavy(600), NAN, *wavy(60)], every_s=5.0)
    assert 600 <= found[0] <= 612


def test_marin_counts_three_skipped_steps_within_a_quarter_of_an_hour() -> None:
    close = ["", "guard"] * 3
    apart = ["guard", *[""] * 1000] * 3
    assert alarms(MarinSkips(), skipped=close) == [5]
    assert alarms(MarinSkips(), skipped=apart) == []


def test_megatron_fires_at_ten_times_the_highest_of_the_first_hundred() -> None:
    assert alarms(MegatronRerun(), [8.0] + [2.0] * 99 + [79.0, 80.0, NAN]) == [101, 102]


def test_byterobust_fires_at_five_times_the_recent_mean_of_either_signal() -> None:
    assert alarms(ByteRobust(), [2.0] * 10 + [9.9, 2.0, NAN]) == [12]
    assert alarms(ByteRobust(), norms=[2.0] * 10 + [10.0]) == [10]


def test_lightning_fires_at_three_times_its_running_mean() -> None:
    assert alarms(LightningSpike(), [2.0] * 10 + [5.9, 2.0, 9.0, NAN]) == [12, 13]


def test_guarftrain_fires_at_half_more_than_its_mean() -> None:
    assert alarms(Guarftrain(), [2.0] * 50 + [2.9, 3.1, NAN]) == [51, 52]


def test_arc_fires_at_ten_times_the_mean_of_five_losses() -> None:
    assert alarms(Arc(), [2.0] * 5 + [19.0, 2.0, 2.0, 2.0, 2.0, 2.0, 20.1, NAN]) == [11, 12]


def test_stabilityguard_fires_at_ten_times_the_exponential_mean_of_the_norm() -> None:
    assert alarms(StabilityGuard(), norms=[1.0] * 10 + [50.0]) == []
    assert alarms(StabilityGuard(), norms=[1.0] * 30 + [9.9, 15.0, 15.0]) == [31, 32]


def test_keepalive_tells_of_a_level_two_and_a_half_times_its_best_once() -> None:
    assert alarms(KeepaliveClub(), [2.0] * 40 + [4.9] * 40) == []
    assert alarms(KeepaliveClub(), [2.0] * 40 + [5.2] * 60) == [58]
    assert alarms(KeepaliveClub(), [2.0, NAN, NAN]) == [1]


def test_trainpulse_fires_on_the_loss_the_norm_and_the_time_of_a_step() -> None:
    assert alarms(TrainPulse(), [2.0] * 50 + [9.9, 12.0]) == [51]
    assert alarms(TrainPulse(), norms=[99.0, 101.0]) == [1]
    assert alarms(TrainPulse(), times=[0.1] * 50 + [0.29, 0.35]) == [51]


def test_p0_needs_eight_in_the_loss_or_six_in_both() -> None:
    calm, norms = wavy(300), wavy(300, 3.0)
    assert alarms(P0Spike(), [*calm, 4.0], norms=[*norms, 3.0]) == [300]
    assert alarms(P0Spike(), [*calm, 2.58], norms=[*norms, 3.0]) == []
    assert alarms(P0Spike(), [*calm, 2.58], norms=[*norms, 6.0]) == [300]


def test_p0_tells_of_a_nan_and_judges_nothing_while_it_is_among_its_hundred_points() -> None:
    losses = [*wavy(300), NAN, *wavy(50), 9.0, *wavy(60), 9.0]
    assert alarms(P0Spike(), losses, norms=wavy(len(losses), 3.0)) == [300, 412]


def test_p0_counts_how_often_the_norm_is_clipped() -> None:
    norms = ([1.0] * 24 + [12.0]) * 20
    assert alarms(P0Clip(), norms=norms, clip_norm=10.0) == []
    assert alarms(P0Clip(), norms=([1.0] * 9 + [12.0]) * 30, clip_norm=10.0) == [299]


def test_zclip_fires_above_two_and_a_half_sigma_of_the_norm_after_25_batches() -> None:
    assert alarms(ZClip(), norms=[*wavy(24), 9.0]) == []
    assert alarms(ZClip(), norms=[*wavy(100), 2.1, 9.0]) == [101]


def test_the_spike_score_takes_seven_deviations_up_or_down() -> None:
    assert alarms(SpikeScore(), [*wavy(99), 9.0]) == []
    assert alarms(SpikeScore(), [*wavy(1000), 2.3, 9.0, 0.01, *wavy(5)]) == [1001, 1002]


def test_a_restart_makes_what_lives_in_the_training_forget() -> None:
    rule = KillLossSpike()
    alarms(rule, [2.0] * 100)
    rule.on_event(started())
    assert alarms(rule, [9.0] * 5) == []
