"""Finite is not clean: what may be believed of a checkpoint, and which copies are kept."""

from __future__ import annotations

import msgspec
import pytest

from monitor.core.model import Incident, IncidentState, Position, Severity, Verdict
from monitor.core.policy.settings import Rollback
from monitor.core.policy.trust import best_for, judge, plausible_ones, to_keep
from monitor.core.state.checkpoints import fold_bad, healthy_after
from monitor.core.state.ledger import Ledger
from monitor.core.state.rows import Anomalies, Anomaly, CheckpointState
from monitor.core.state.run import RankState, TrainingState
from tests.harness.simulation import supervised
from trainer_hooks.wire.messages import Counts, TrainingStarted

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
        healthy_longest=healthy,
    )


def training_with(*checkpoints: CheckpointState, onset: int | None = None) -> TrainingState:
    """One with these checkpoints, and a live incident whose first bad batch is number `onset` of generation 1."""
    training = TrainingState(1, checkpoints=list(checkpoints))
    if onset is not None:
        at = Position(1, 1 + onset // 100, onset % 100, onset)
        incident = Incident("r-i1", 1, "nonfinite", Severity.CRITICAL, IncidentState.OPEN, 0.0, at, at)
        training.ledger.incidents = [incident]
    return training


def test_a_sound_checkpoint_that_healthy_batches_followed_is_clean() -> None:
    one = checkpoint(1)
    assert judge(one, training_with(one), RULES)[0] is Verdict.CLEAN


def test_a_sound_checkpoint_that_nothing_followed_yet_is_suspect_and_says_so() -> None:
    one = checkpoint(1, healthy=7)
    verdict, why = judge(one, training_with(one), RULES)
    assert verdict is Verdict.SUSPECT
    assert why == "7 healthy batches followed it so far, 20 prove it"


def finished(**changed: object) -> TrainingState:
    """A training whose last checkpoint three healthy batches followed, then its end."""
    training = training_with(checkpoint(2), checkpoint(3, healthy=3))
    training.generation, training.over, training.how, training.left_at = 1, True, "finished", Position(1, 4, 2, 303)
    for name, value in changed.items():
        setattr(training, name, value)
    return training


def verdict_of_last(training: TrainingState) -> tuple[Verdict, str]:
    return judge(training.checkpoints[-1], training, RULES)


def test_the_last_checkpoint_of_a_training_that_finished_healthy_is_clean() -> None:
    verdict, why = verdict_of_last(finished())
    assert verdict is Verdict.CLEAN
    assert why == "saved before every known anomaly; training finished without an anomaly after it"
    simulation = supervised(epochs=3)
    assert simulation.train() == "finished"
    training = simulation.run.training
    assert [judge(c, training, RULES)[0] for c in training.checkpoints] == [Verdict.CLEAN] * 3


ANOMALY = Anomaly("loss_spike", "loss", 0, Position(1, 4, 1, 302), Position(1, 4, 1, 302), "loss", 2.0, "high")
CLOSED = Incident(
    "r-i1", 1, "loss", Severity.CRITICAL, IncidentState.CLOSED, 0.0, Position(1, 3, 50, 250), Position(1, 3, 50, 250)
)


@pytest.mark.parametrize(
    "changed",
    [
        {"how": "exception"},
        {"how": "order"},
        {"how": "", "over": False},
        {"left_at": Position(1, 4, 4, 305)},
        {"generation": 2},
        {"anomalies": Anomalies(standing=[ANOMALY])},
        {"anomalies": Anomalies(past=[ANOMALY])},
        {"ledger": Ledger(incidents=[CLOSED])},
    ],
    ids=["raised", "ordered", "goes on", "a bad batch came", "a later start", "stands", "stood", "not solved"],
)
def test_what_is_not_known_to_have_ended_healthy_stays_suspect(changed: dict[str, object]) -> None:
    verdict, why = verdict_of_last(finished(**changed))
    assert verdict is Verdict.SUSPECT
    assert why.startswith(("3 healthy batches followed it", "saved after the onset of incident 1"))
    assert ("so far" in why) == (changed.get("over") is False)


def test_a_solved_incident_before_the_last_checkpoint_leaves_it_clean() -> None:
    solved = msgspec.structs.replace(CLOSED, state=IncidentState.RESOLVED)
    assert verdict_of_last(finished(ledger=Ledger(incidents=[solved])))[0] is Verdict.CLEAN


def test_what_was_saved_after_the_onset_is_suspect_however_sound_its_bytes_are() -> None:
    before, after = checkpoint(2), checkpoint(3)
    training = training_with(before, after, onset=250)
    assert judge(before, training, RULES)[0] is Verdict.CLEAN
    assert judge(after, training, RULES)[0] is Verdict.SUSPECT


@pytest.mark.parametrize("ended", [IncidentState.GIVEN_UP, IncidentState.CLOSED, IncidentState.LOST])
def test_what_was_saved_after_the_onset_of_an_incident_that_nobody_saw_healed_stays_suspect(
    ended: IncidentState,
) -> None:
    before, after, later = checkpoint(1), checkpoint(2), checkpoint(3, generation=2)
    training = training_with(before, after, later, onset=150)
    training.ledger.incidents[0].state = ended
    verdicts = [judge(each, training, RULES)[0] for each in (before, after, later)]
    assert verdicts == [Verdict.CLEAN, Verdict.SUSPECT, Verdict.CLEAN], "the next generation began before the onset"


def test_a_later_generation_is_suspect_until_the_incident_is_over() -> None:
    """Saved under the new settings, but the cure is not proven: a relapse must go further back than the last target."""
    later = checkpoint(4, generation=2)
    training = training_with(checkpoint(2), later, onset=250)
    assert judge(later, training, RULES)[0] is Verdict.SUSPECT
    training.ledger.incidents[0].state = IncidentState.RESOLVED
    assert judge(later, training, RULES)[0] is Verdict.CLEAN


def test_a_poisoned_or_unverified_checkpoint_stays_what_it_is() -> None:
    for verdict in (Verdict.POISONED, Verdict.UNVERIFIED, Verdict.WAITING):
        one = msgspec.structs.replace(checkpoint(1), verdict=verdict)
        assert judge(one, training_with(one), RULES)[0] is verdict


def test_a_second_try_goes_further_back_than_the_first() -> None:
    training = training_with(checkpoint(1), checkpoint(2), checkpoint(3), onset=350)
    assert (
        plausible_ones(training, RULES, training.ledger.incidents[0]) == []
    )  # a run that told nothing yet can't be resumed
    training.started = TrainingStarted(0.0, "plain", {}, {}, (), (), (), 50, 1, 100, 1, 1, "", "", 1, "cpu", "")
    assert [c.epoch for c in plausible_ones(training, RULES, training.ledger.incidents[0])] == [3, 2, 1]
    training.ledger.incidents[0].action.target = "digest-1-3"
    assert [c.epoch for c in plausible_ones(training, RULES, training.ledger.incidents[0])] == [2, 1]


def test_the_best_that_belongs_to_a_state_is_of_its_branch_and_not_later() -> None:
    training = training_with(checkpoint(1, best=True), checkpoint(2), checkpoint(3, best=True))
    training.checkpoints[2].abandoned = True
    best = best_for(training.checkpoints[1], training)
    assert best is not None
    assert best.epoch == 1


def test_the_newest_clean_ones_are_kept_with_their_best_and_the_target_of_a_live_incident() -> None:
    training = training_with(*(checkpoint(epoch, best=epoch == 1) for epoch in range(1, 8)), onset=650)
    training.ledger.incidents[0].action.target = "digest-1-2"
    kept = to_keep(training, RULES)
    assert {"digest-1-6", "digest-1-5", "digest-1-4"} <= set(kept)  # clean
    assert {"digest-1-1", "digest-1-2"} <= set(kept)  # the best, the target
    assert "digest-1-3" not in kept


def test_healthy_batches_are_counted_from_the_save_and_not_over_a_bad_one() -> None:
    """The event that reports a save comes some batches later; what lies between counts as well."""
    saved = msgspec.structs.replace(checkpoint(1, healthy=0), count=90)
    training = TrainingState(1, generation=1, checkpoints=[saved], ranks={0: RankState(0, counts=Counts(batches=100))})
    assert healthy_after(training, saved) == 10
    fold_bad(training, before=106, count=107)
    training.ranks[0].counts = Counts(batches=110)
    assert healthy_after(training, saved) == 16  # before the bad one; after it there are 3


def test_what_followed_a_checkpoint_proves_it_for_good() -> None:
    """The batch that goes wrong afterwards is why people go back to it."""
    saved = msgspec.structs.replace(checkpoint(1, healthy=0), count=90)
    training = TrainingState(1, generation=1, checkpoints=[saved], ranks={0: RankState(0, counts=Counts(batches=112))})
    fold_bad(training, before=111, count=112)
    assert judge(saved, training, RULES)[0] is Verdict.CLEAN


def test_only_checkpoints_of_the_same_training_can_be_resumed_from() -> None:
    """A script with many trainings in the days before each had its own state: the newest may be another model's."""
    own, other = checkpoint(2), msgspec.structs.replace(checkpoint(3, best=True), ordinal=1, digest="other")
    own.ordinal = 2
    training = training_with(own, other, onset=350)
    training.started = TrainingStarted(0.0, "plain", {}, {}, (), (), (), 50, 1, 100, 1, 2, "", "", 1, "cpu", "")
    assert [c.digest for c in plausible_ones(training, RULES, training.ledger.incidents[0])] == [own.digest]
    assert best_for(msgspec.structs.replace(own, epoch=4), training) is None


def test_a_best_that_is_gone_or_was_rolled_back_is_no_longer_one() -> None:
    training = training_with(checkpoint(1, best=True), checkpoint(2))
    training.ledger.copies.dropped["digest-1-1"] = 1
    assert best_for(training.checkpoints[1], training) is None
    training = training_with(checkpoint(1, best=True), checkpoint(2))
    training.checkpoints[0].abandoned = True
    assert best_for(training.checkpoints[1], training) is None


def snapshot(epoch: int, extra: int, *, generation: int = 1) -> CheckpointState:
    """Of `extra` batches after epoch `epoch`, of 100 batches each."""
    held = checkpoint(epoch, generation=generation)
    return msgspec.structs.replace(
        held, extra_batches=extra, count=100 * epoch + extra, digest=f"{held.digest}-{extra}"
    )


def started() -> TrainingStarted:
    return msgspec.convert(
        [20, 0.0, "plain", {}, {}, [], [], [], 10, 1, 100, 1, 1, "", "", 1, "cpu", ""], TrainingStarted
    )


def test_the_newest_clean_state_may_be_a_snapshot_within_an_epoch() -> None:
    training = training_with(checkpoint(2), snapshot(2, 40), snapshot(2, 80), onset=290)
    training.started = started()
    held = [c.holds for c in plausible_ones(training, RULES, training.ledger.incidents[0])]
    assert held == [(2, 80), (2, 40), (2, 0)]


def test_a_snapshot_needs_the_checkpoint_that_its_epoch_began_with() -> None:
    training = training_with(checkpoint(1), snapshot(2, 40), snapshot(0, 30), onset=290)
    training.started = started()
    held = [c.holds for c in plausible_ones(training, RULES, training.ledger.incidents[0])]
    assert held == [(1, 0), (0, 30)], "the first epoch begins with the script's own start"


def test_after_a_snapshot_that_did_not_help_a_checkpoint_is_next() -> None:
    training = training_with(checkpoint(1), checkpoint(2), snapshot(2, 40), snapshot(2, 80), onset=290)
    training.started = started()
    incident = training.ledger.incidents[0]
    incident.action.target = training.checkpoints[-1].digest
    assert [c.holds for c in plausible_ones(training, RULES, incident)] == [(2, 0), (1, 0)]


def test_snapshots_do_not_take_the_place_of_checkpoints_and_keep_the_one_below_them() -> None:
    saved = [checkpoint(epoch) for epoch in range(1, 6)] + [snapshot(1, extra) for extra in (10, 20, 30, 40)]
    kept = to_keep(training_with(*saved), RULES, 2)
    assert set(kept) == {c.digest for c in saved if c.epoch in (3, 4, 5) or c.extra_batches in (30, 40)} | {
        saved[0].digest
    }
