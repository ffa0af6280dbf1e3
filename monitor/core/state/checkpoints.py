"""Which checkpoints a training saved, what was found in them, and what followed them. Pure."""

from __future__ import annotations

from monitor.core.model import CheckpointExamined, Verdict
from monitor.core.state.first_losses import keep_following
from monitor.core.state.levels import loss_is_off
from monitor.core.state.projection import redo_batches
from monitor.core.state.rows import CheckpointState
from monitor.core.state.run import RankState, TrainingState
from monitor.core.state.stats import snapshot_of
from trainer_hooks.wire.messages import CheckpointSaved

CHECKPOINTS_MAX = 500
LEARNED_KEPT = 8  # snapshots of learned statistics: as many rollbacks as a budget is likely to allow


def fold_saved(training: TrainingState, rank: RankState, event: CheckpointSaved) -> CheckpointState | None:
    """The checkpoint that was saved, with the statistics as they were; None: there is no copy of it."""
    if event.torn:
        return None
    known = next((c for c in training.checkpoints if c.digest == event.digest), None)
    if known is not None and training.dropped(known):  # its copy is gone; this one is another
        training.checkpoints.remove(known)
        known = None
    if known is None:
        known = CheckpointState(
            event.manifest, event.digest, event.epoch, training.generation, event.wall_s, rank.counts.batches
        )
        known.extra_batches = event.extra_batches
        training.checkpoints.append(known)
        _forget_oldest(training)
    known.level_lost = loss_is_off(rank.learned)
    known.learned = snapshot_of(rank.learned)
    for older in [c for c in training.checkpoints if c.learned][:-LEARNED_KEPT]:
        older.learned = None
    return known


def _forget_oldest(training: TrainingState) -> None:
    """What is over the limit: first snapshots whose copy is gone, which are many in a long epoch."""
    over = len(training.checkpoints) - CHECKPOINTS_MAX
    if over > 0:
        gone = [c for c in training.checkpoints if c.is_snapshot and training.dropped(c)][:over]
        training.checkpoints = [c for c in training.checkpoints if all(c is not each for each in gone)]
        del training.checkpoints[:-CHECKPOINTS_MAX]


def fold_bad(training: TrainingState, before: int, count: int) -> None:
    """A batch of rank 0 was not finite: `before` and `count` are Counts.batches before and after its record."""
    for checkpoint in training.checkpoints:
        if checkpoint.generation == training.generation:
            streak = before - max(checkpoint.count, training.last_bad)
            checkpoint.healthy_longest = max(checkpoint.healthy_longest, streak)
    training.last_bad = count


def healthy_after(training: TrainingState, checkpoint: CheckpointState) -> int:
    """The most healthy batches in a row that followed a checkpoint in its generation; they prove it."""
    leader = training.ranks.get(0)
    if checkpoint.generation != training.generation or leader is None:
        return checkpoint.healthy_longest
    streak = leader.counts.batches - max(checkpoint.count, training.last_bad)
    return max(checkpoint.healthy_longest, streak)


def batches_since(training: TrainingState, checkpoint: CheckpointState) -> int:
    """Batches whose learning is lost where the state is put back and the loop goes on: none is lost twice."""
    leader = training.ranks.get(0)
    if leader is None or leader.last is None:
        return 0
    if checkpoint.generation != training.generation:
        batch = leader.last.batch
        return redo_batches(checkpoint.holds, leader.last.position, max(batch.batches_per_epoch, 1))
    lost_before = sum(until - after for after, until in training.given_up if after >= checkpoint.count)
    return max(0, leader.counts.batches - checkpoint.count - lost_before)


def fold_examined(training: TrainingState, result: CheckpointExamined, now_s: float) -> CheckpointState:
    """A checkpoint was examined: the one it is about is known from its event, or from its manifest alone."""
    manifest = result.manifest
    found = next((c for c in training.checkpoints if c.digest == manifest.digest), None)
    if found is None:
        found = CheckpointState(
            result.name, manifest.digest, manifest.epoch, manifest.generation, manifest.saved_s, manifest.batches
        )
        training.checkpoints.append(found)
        _forget_oldest(training)
    if result.path:  # without one there was no manifest to read either
        found.manifest, found.path = manifest, result.path
        found.epoch, found.count, found.generation = manifest.epoch, manifest.batches, manifest.generation
        found.extra_batches = manifest.extra_batches
        found.is_best, found.size = manifest.is_best, manifest.size
        found.source, found.ordinal = manifest.source, manifest.ordinal
    keep_following(training)
    if found.generation == training.generation:  # its file was still being written when the training went back
        found.abandoned |= any(after < found.count <= until for after, until in training.given_up)
    found.verdict, found.reasons, found.examined_s = result.verdict, list(result.reasons), now_s
    if manifest.state_finding:  # the trainer turns NaN to zero as it saves: a finite file does not take this back
        found.verdict = Verdict.POISONED
        found.reasons.append(f"just before the save: {manifest.state_finding}")
    return found
