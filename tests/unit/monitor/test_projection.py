"""The figures of the night, as a person would work them out with a pocket calculator."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from monitor.core.model import Position
from monitor.core.state.projection import (
    deadline_kept,
    failure_rate,
    finish_s,
    pace_s,
    projected_nonfinite,
    redo_batches,
    remaining,
    too_close,
)
from tests.harness.night import BATCHES_PER_EPOCH, BATCHES_SEEN, DEADLINE_S, EPOCHS, LEFT, NOW_S, night

SIX_HOURS_AN_EPOCH_S = 6 * 3600 / BATCHES_PER_EPOCH


def test_the_pace_comes_from_the_runs_own_epochs_the_unfinished_one_included() -> None:
    run, _ = night()
    pace = pace_s(run.training)
    assert pace is not None
    assert pace * BATCHES_PER_EPOCH / 3600 == pytest.approx(4.89, abs=0.005)  # 15 h 34 min over 3.183 epochs


def test_a_run_of_a_few_batches_has_no_pace_yet() -> None:
    run, _ = night()
    del run.training.epochs[:3]
    run.training.epochs[0].batches = 19
    assert pace_s(run.training) is None


def test_an_epoch_that_was_left_without_an_end_does_not_spoil_the_pace() -> None:
    run, _ = night()
    before = pace_s(run.training)
    run.generation, run.training.ranks = 2, {}
    assert pace_s(run.training) == pytest.approx(before, rel=1e-6)


def test_an_epoch_whose_end_never_arrived_does_not_reach_to_now() -> None:
    run, _ = night()
    before = pace_s(run.training)
    run.training.epochs[1].ended_s = None
    assert pace_s(run.training) == pytest.approx(before, rel=1e-6)


def test_47_epochs_more_take_9_6_days_at_the_runs_pace_and_11_75_at_six_hours() -> None:
    run, _ = night()
    left = (EPOCHS - 3) * BATCHES_PER_EPOCH
    pace = pace_s(run.training)
    assert pace is not None
    assert (finish_s(NOW_S, left, pace) - NOW_S) / 3600 == pytest.approx(230, abs=0.5)
    assert (finish_s(NOW_S, left, pace) - NOW_S) / 86400 == pytest.approx(9.6, abs=0.05)
    assert (finish_s(NOW_S, left, SIX_HOURS_AN_EPOCH_S) - NOW_S) / 86400 == pytest.approx(11.75)


def test_on_track_for_the_27th_fails_at_six_hours_and_is_uncertain_at_the_runs_own_pace() -> None:
    run, _ = night()
    left = (EPOCHS - 3) * BATCHES_PER_EPOCH
    pace = pace_s(run.training)
    assert pace is not None
    own, six = finish_s(NOW_S, left, pace), finish_s(NOW_S, left, SIX_HOURS_AN_EPOCH_S)
    assert too_close(own, DEADLINE_S, NOW_S)
    assert not deadline_kept(six, DEADLINE_S)
    assert not too_close(six, DEADLINE_S, NOW_S)
    evening = datetime(2025, 11, 27, 18, tzinfo=timezone.utc).timestamp()
    assert too_close(own, evening, NOW_S), "whichever hour of the 27th was meant"


def test_six_hours_lost_are_0_9_hours_thrown_away() -> None:
    run, _ = night()
    pace = pace_s(run.training)
    redo = redo_batches((3, 0), LEFT, BATCHES_PER_EPOCH)
    assert pace is not None
    assert redo == BATCHES_SEEN
    assert redo * pace / 3600 == pytest.approx(0.9, abs=0.01)


def test_73_of_7550_is_0_97_percent_and_about_400_in_the_whole_epoch() -> None:
    rate = failure_rate(73, BATCHES_SEEN)
    assert rate == pytest.approx(0.0097, abs=0.00005)
    assert 73 + projected_nonfinite(rate, BATCHES_PER_EPOCH - BATCHES_SEEN) == 398


def test_going_back_to_the_start_redoes_everything_and_going_back_to_now_nothing() -> None:
    at = Position(generation=1, epoch=3, batch=9, count=30)
    assert redo_batches((0, 0), at, 10) == 30
    assert redo_batches((3, 0), at, 10) == 0
    assert redo_batches((2, 0), at, 10) == 10
    assert redo_batches((2, 4), at, 10) == 6


def test_what_is_left_after_the_last_batch_is_nothing() -> None:
    assert remaining(Position(1, 5, 9, 50), epochs=5, batches_per_epoch=10).batches == 0
    assert remaining(Position(1, 1, 0, 1), epochs=5, batches_per_epoch=10).batches == 49
    assert remaining(Position(1, 4, 4, 35), epochs=5, batches_per_epoch=10).epochs == 1.5


def test_without_a_deadline_there_is_nothing_to_keep() -> None:
    assert deadline_kept(100.0, None) is None
    assert deadline_kept(100.0, 100.0) is True
    assert failure_rate(0, 0) == 0.0
