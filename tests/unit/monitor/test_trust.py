"""Finite is not clean: what may be believed of a checkpoint, and which copies are kept."""

from __future__ import annotations

import msgspec

from monitor.core.model import Incident, IncidentState, Position, Severity, Verdict
from monitor.core.policy.events import _healthy_before
from monitor.core.policy.settings import Rollback
from monitor.core.policy.trust import best_for, judge, plausible_ones, to_keep
from monitor.core.state.run import CheckpointState, Learned, NonfiniteWindow, RankState, RunState
from trainer_hooks.wire.messages import TrainingStarted
from trainer_hooks.wire.runfolder import RunSpec

RULES = Rollback(healthy_batches=20, keep_clean=3)


def checkpoint(epoch: int, *, generation: int = 1, best: bool = False, healthy: int = 20) -> CheckpointState:
    return CheckpointState(
        f"{epoch}.json",
        f"digest-{generation}-{epoch}",
        epoch,
        generation,
        0.0,
        100 * epoch,
        is_best=best,
        verdict=Verdict.SOUND,
        healthy_after=healthy,
    )


def run_with(*checkpoints: CheckpointState, onset: int | None = None) -> RunState:
    """A run with these checkpoints, and a live incident whose first bad batch is number `onset` of generation 1."""
    run = RunState(spec=RunSpec(run="r", argv=(), cwd="", created_s=0.0, act=True), policy="", opened_s=0.0)
    run.checkpoints = list(checkpoints)
    if onset is not None:
        at = Position(1, 1 + onset // 100, onset % 100, onset)
        run.incidents = [Incident("r-i1", 1, "nonfinite", Severity.CRITICAL, IncidentState.OPEN, 0.0, at, at)]
    return run


def test_a_sound_checkpoint_that_healthy_batches_followed_is_clean() -> None:
    one = checkpoint(1)
    assert judge(one, run_with(one), RULES)[0] is Verdict.CLEAN


def test_a_sound_checkpoint_that_nothing_followed_yet_is_suspect_and_says_so() -> None:
    one = checkpoint(1, healthy=7)
    verdict, why = judge(one, run_with(one), RULES)
    assert verdict is Verdict.SUSPECT
    assert why == "7 healthy batches followed it so far, 20 prove it"


def test_what_was_saved_after_the_onset_is_suspect_however_sound_its_bytes_are() -> None:
    before, after = checkpoint(2), checkpoint(3)
    run = run_with(before, after, onset=250)
    assert judge(before, run, RULES)[0] is Verdict.CLEAN
    assert judge(after, run, RULES)[0] is Verdict.SUSPECT


def test_a_later_generation_is_suspect_until_the_incident_is_over() -> None:
    """Saved under the new settings, but the cure is not proven: a relapse must go further back than the last target."""
    later = checkpoint(4, generation=2)
    run = run_with(checkpoint(2), later, onset=250)
    assert judge(later, run, RULES)[0] is Verdict.SUSPECT
    run.incidents[0].state = IncidentState.RESOLVED
    assert judge(later, run, RULES)[0] is Verdict.CLEAN


def test_a_poisoned_or_unverified_checkpoint_stays_what_it_is() -> None:
    for verdict in (Verdict.POISONED, Verdict.UNVERIFIED, Verdict.WAITING):
        one = msgspec.structs.replace(checkpoint(1), verdict=verdict)
        assert judge(one, run_with(one), RULES)[0] is verdict


def test_a_second_try_goes_further_back_than_the_first() -> None:
    run = run_with(checkpoint(1), checkpoint(2), checkpoint(3), onset=350)
    assert plausible_ones(run, RULES, run.incidents[0]) == []  # a run that told nothing yet can't be resumed
    run.training = TrainingStarted(0.0, "plain", {}, {}, (), (), (), 50, 1, 100, 1, 1, "", "", 1, "cpu", "")
    assert [c.epoch for c in plausible_ones(run, RULES, run.incidents[0])] == [3, 2, 1]
    run.incidents[0].target = "digest-1-3"
    assert [c.epoch for c in plausible_ones(run, RULES, run.incidents[0])] == [2, 1]


def test_the_best_that_belongs_to_a_state_is_of_its_branch_and_not_later() -> None:
    run = run_with(checkpoint(1, best=True), checkpoint(2), checkpoint(3, best=True))
    run.checkpoints[2].abandoned = True
    best = best_for(run.checkpoints[1], run)
    assert best is not None
    assert best.epoch == 1


def test_the_newest_clean_ones_are_kept_with_their_best_and_the_target_of_a_live_incident() -> None:
    run = run_with(*(checkpoint(epoch, best=epoch == 1) for epoch in range(1, 8)), onset=650)
    run.incidents[0].target = "digest-1-2"
    kept = to_keep(run, RULES)
    assert {"digest-1-6", "digest-1-5", "digest-1-4"} <= set(kept)  # clean
    assert {"digest-1-1", "digest-1-2"} <= set(kept)  # the best, the target
    assert "digest-1-3" not in kept


def test_batches_between_a_save_and_its_event_count_as_followers_unless_one_was_bad() -> None:
    run = run_with()
    run.ranks[0] = RankState(0, learned=Learned(nonfinite=NonfiniteWindow(counts=[90, 107])))
    assert _healthy_before(run, 90, 100) == 10
    assert _healthy_before(run, 100, 110) == 0


def test_only_checkpoints_of_the_training_that_runs_now_can_be_resumed_from() -> None:
    """A script with many trainings: the newest clean checkpoint may be another model's."""
    own, other = checkpoint(2), msgspec.structs.replace(checkpoint(3, best=True), ordinal=1, digest="other")
    own.ordinal = 2
    run = run_with(own, other, onset=350)
    run.training = TrainingStarted(0.0, "plain", {}, {}, (), (), (), 50, 1, 100, 1, 2, "", "", 1, "cpu", "")
    assert [c.digest for c in plausible_ones(run, RULES, run.incidents[0])] == [own.digest]
    assert best_for(msgspec.structs.replace(own, epoch=4), run) is None


def test_a_best_that_is_gone_or_was_rolled_back_is_no_longer_one() -> None:
    for field in ("dropped", "abandoned"):
        run = run_with(checkpoint(1, best=True), checkpoint(2))
        setattr(run.checkpoints[0], field, True)
        assert best_for(run.checkpoints[1], run) is None
