"""The decision table, row by row, on a training of a few numbers that the real core watches over.

Never worse than a guard that only skips bad steps: see tests/harness/faulty_training.py. `make bench` plays a thousand
random mixes of one to three faults; here are the first few dozen.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from monitor.core.model import IncidentState
from monitor.core.policy.settings import Policy
from monitor.core.policy.table_settings import WhenClean
from tests.harness.faulty_training import (
    BATCHES,
    FAULTS,
    PER_EPOCH,
    TRAINED_MAX,
    Fault,
    Played,
    Watched,
    from_the_first,
    guard_only,
    healthy,
    random_mix,
    worse,
)
from tests.harness.setting_jumps import excursion, restart

MIXES = 60
JUMPS = 10
LASTING, RECURRING = 34, 5  # numbers of such draws
KILLED_MIXES = 12
SEED = 1


def played(name: str, when_clean: WhenClean = WhenClean.ADJUST) -> Played:
    return Watched(FAULTS[name], SEED, Policy(when_clean=when_clean)).play()


@pytest.mark.parametrize("number", range(MIXES))
def test_no_mix_of_faults_ends_worse_than_with_a_guard_alone(number: int) -> None:
    names, fault = random_mix(number)
    watched = Watched(fault, number).play()
    assert not worse(watched.loss, guard_only(fault, number)), (names, watched.said)
    assert watched.simulation.run.ledger.defects == 0


@pytest.mark.parametrize("number", range(KILLED_MIXES))
def test_a_mix_of_faults_whose_process_is_killed_too_ends_no_worse_than_one_that_nobody_kills(number: int) -> None:
    names, fault = random_mix(number)
    draw = random.Random(f"killed {number}")
    watched = Watched(fault, number, killed_at=[draw.randrange(2 * PER_EPOCH, BATCHES - 1)])
    over = watched.play()
    assert watched.left_by_kills or not over.finished, "the fault did not fire"
    assert not worse(over.loss, guard_only(fault, number)), (names, over.said)
    assert over.simulation.run.ledger.defects == 0


@pytest.mark.parametrize("number", range(KILLED_MIXES))
def test_however_often_it_is_killed_it_ends_no_worse_than_at_its_first_death(number: int) -> None:
    draw = random.Random(f"often {number}")
    kills = sorted(draw.sample(range(10, 2 * BATCHES), draw.randrange(2, 40)))
    watched = Watched(healthy, number, killed_at=kills)
    over = watched.play()
    assert watched.left_by_kills, "the fault did not fire"
    assert not worse(over.loss, watched.left_by_kills[0]), over.said
    assert over.trained < TRAINED_MAX
    assert (over.simulation.orders, over.simulation.run.ledger.defects) == ([], 0)


def test_row_1a_a_training_that_is_killed_ends_as_a_healthy_one() -> None:
    over = Watched(healthy, SEED, killed_at=(1010, 1700)).play()
    assert over.finished
    assert over.loss == pytest.approx(Watched(healthy, SEED).play().loss, abs=0.001)
    assert over.trained < 1.05


def test_a_healthy_training_is_left_alone() -> None:
    training = Watched(healthy, SEED).play()
    assert (training.actions, training.simulation.run.training.ledger.incidents) == ([], [])


def test_row_2_a_scaler_that_overflows_for_ever_is_stopped_for_its_precision() -> None:
    training = Watched(FAULTS["scaler_for_ever"], SEED).play()
    assert not training.finished
    assert training.trained < 0.1
    assert "the precision was the cause" in training.said


@pytest.mark.parametrize("when_clean", WhenClean)
def test_row_3_batches_that_are_all_bad_from_the_first_on_stop_the_training_at_once(when_clean: WhenClean) -> None:
    training = Watched(from_the_first, SEED, Policy(when_clean=when_clean)).play()
    assert (training.finished, training.actions) == (False, ["stop"])
    assert training.simulation.batches_run == 0
    assert training.trained * 3000 <= 9
    assert "precision, the model or the input" in training.said
    assert "warm-up" not in training.said


def test_row_4_a_spike_that_heals_is_waited_for() -> None:
    assert played("spike_that_heals").actions == []


def test_row_5_one_event_goes_back_with_the_settings_as_they_were() -> None:
    training = played("weight_hit_once")
    (plan,) = training.simulation.plans.values()
    assert (plan.changes, training.finished) == ((), True)
    assert training.loss == pytest.approx(0.400, abs=0.002)


def test_row_6_near_the_end_it_goes_back_all_the_same_where_little_is_lost_otherwise() -> None:
    training = played("weight_hit_near_the_end")
    assert training.finished
    assert training.loss == pytest.approx(0.400, abs=0.01)


@pytest.mark.parametrize("when_clean", [WhenClean.ADJUST, WhenClean.ROLLBACK])
def test_row_7_a_sample_that_explains_the_bad_batches_is_named_and_nothing_is_done(when_clean: WhenClean) -> None:
    training = played("one_bad_image", when_clean)
    assert (training.actions, training.finished) == ([], True)
    assert "sample bad.jpg" in training.said


def test_row_8_a_rank_that_gives_every_bad_batch_is_named() -> None:
    training = played("one_rank")
    assert (training.actions, training.finished) == ([], True)
    assert "rank 1" in training.said


def test_row_9_what_is_bad_from_the_start_and_seldom_is_skipped() -> None:
    training = played("at_random")
    assert (training.actions, training.finished) == ([], True)
    assert "nothing was better before" in training.said


def test_row_10_an_adjustment_that_helps_stays_and_the_cure_is_proven() -> None:
    training = played("caused_by_the_rate")
    assert training.actions == ["adjust"]
    assert training.simulation.incident.state is IncidentState.RESOLVED


def test_row_10_an_adjustment_that_does_not_help_is_undone() -> None:
    training = played("late_at_random")
    assert training.actions == ["adjust", "adjust"]
    assert training.simulation.in_force is None  # nothing was restarted
    assert "does not help" in training.said
    assert not worse(training.loss, guard_only(FAULTS["late_at_random"], SEED))


def test_row_12_a_slow_divergence_goes_back_with_strengthened_settings() -> None:
    training = played("slow_divergence")
    assert training.finished
    (plan,) = training.simulation.plans.values()
    assert plan.changes
    assert training.loss < 0.45


def test_going_back_from_a_clean_state_is_one_word_away() -> None:
    training = played("caused_by_the_rate", WhenClean.ROLLBACK)
    assert training.actions == ["stop"]
    assert training.loss < 0.45


def test_a_stopped_training_opens_one_incident_and_sends_one_message() -> None:
    training = Watched(from_the_first, SEED).play()
    kinds = [alert.kind for alert in training.simulation.alerts]
    assert kinds.count("given_up") == 1
    assert len(training.simulation.run.training.ledger.incidents) == 1


def test_the_loss_of_the_harness_is_what_a_healthy_training_ends_with() -> None:
    assert guard_only(healthy, SEED) == pytest.approx(0.3 + 2.0 * math.exp(-3.0))


@pytest.mark.parametrize("kind", [excursion, restart])
@pytest.mark.parametrize("number", range(JUMPS))
def test_no_setting_that_jumps_for_no_known_reason_ends_worse_than_with_a_guard_alone(
    kind: Callable[[int], Fault], number: int
) -> None:
    watched = Watched(kind(number), number).play()
    assert watched.finished
    assert not worse(watched.loss, guard_only(kind(number), number)), watched.said
    assert watched.simulation.run.ledger.defects == 0


def test_a_jump_of_the_rate_whose_damage_stays_goes_back_once_with_the_settings_as_they_were() -> None:
    over = Watched(excursion(LASTING), LASTING).play()
    (plan,) = over.simulation.plans.values()
    assert (plan.changes, over.actions, over.finished) == ((), ["stop"], True)
    assert over.loss == pytest.approx(0.400, abs=0.002)
    assert guard_only(excursion(LASTING), LASTING) > 0.5


def test_a_setting_that_the_script_changes_at_the_same_place_again_is_left_to_the_script() -> None:
    over = Watched(restart(RECURRING), RECURRING).play()
    assert (over.actions, over.finished) == (["stop"], True)
    assert "at the same place again, so it is left to the script" in over.said
