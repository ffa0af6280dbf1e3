"""How long a training is silent between records, by what it does then: the limit of a hang comes from it. Pure."""

from __future__ import annotations

from monitor.core.state.run import RankState, TrainingState
from trainer_hooks.wire.messages import PhaseChanged
from trainer_hooks.wire.words import Phase

TRAIN = Phase.TRAIN  # looking a member up in its class takes longer than comparing it: every batch asks
START = "start"  # until the first batches: of a training, and after each pause; they compile and start loaders
BETWEEN = "between epochs"  # of a trainer that declares no phases: it may validate and save there
START_BATCHES = 3  # the first ones of a training fill caches too: their intervals are not like the others'
HANG_STREAK = "hang/0"  # the streak of the detector of hangs about the leading rank
LOOP_PHASES = (TRAIN, Phase.IDLE)  # a trainer that declares no phases is idle while it trains


def awaited(training: TrainingState, leader: RankState) -> str:
    """What a training that is silent now is busy with: a declared phase, TRAIN, START or BETWEEN."""
    if training.phase not in LOOP_PHASES:
        return training.phase
    silence = training.silence
    if leader.last_batch_s is None or silence.pauses or leader.counts.batches - silence.train_from < START_BATCHES:
        return START
    if training.phase != TRAIN and _epoch_is_over(training, leader):
        return BETWEEN
    return TRAIN


def silent_since_s(training: TrainingState, leader: RankState) -> float:
    """When the present silence began; 0.0: no record arrived yet."""
    return max(leader.last_batch_s or 0.0, training.silence.phase_since_s)


def stands_still_since_s(training: TrainingState) -> float | None:
    """Since when no batch has come, where that was found to be a hang; None: it trains, or was never seen to train."""
    leader, streak = training.ranks.get(0), training.streaks.get(HANG_STREAK)
    if leader is None or streak is None or leader.last_batch_s is None or streak.generation != training.generation:
        return None
    return silent_since_s(training, leader) if streak.count == leader.counts.batches else None


def longest_of(training: TrainingState, kind: str) -> float | None:
    """The longest silence of that kind so far; None: none has ended yet."""
    known = training.silence.longest_s
    longest = known.get(kind)
    if longest is None or kind not in (START, BETWEEN):
        return longest
    return max(longest, known.get(TRAIN, 0.0))


def fold_interval(training: TrainingState, leader: RankState, now_s: float) -> None:
    """A batch of the leading rank has come; call it before the batch is folded."""
    since_s = leader.last_batch_s or 0.0
    silence = training.silence
    since_s = max(since_s, silence.phase_since_s)
    if since_s:
        kind = awaited(training, leader)
        silent_s, longest = now_s - since_s, silence.longest_s.get(kind)
        if longest is None or silent_s > longest:
            silence.longest_s[kind] = max(longest or 0.0, silent_s)
    silence.pauses = 0


def fold_phase(training: TrainingState, event: PhaseChanged, now_s: float) -> None:
    """The trainer begins another phase; remember how long the one before took."""
    if event.phase == training.phase:
        return
    silence, before = training.silence, training.phase
    if silence.phase_since_s and before not in LOOP_PHASES:
        silence.longest_s[before] = max(silence.longest_s.get(before, 0.0), now_s - silence.phase_since_s)
    silence.pauses += event.phase != TRAIN
    silence.phase_since_s = now_s


def fold_start(training: TrainingState, now_s: float) -> None:
    """A generation, or a training in it, begins: the time before it does not count as silence."""
    leader = training.ranks.get(0)
    training.silence.train_from = leader.counts.batches if leader else 0
    training.silence.phase_since_s = now_s


def _epoch_is_over(training: TrainingState, leader: RankState) -> bool:
    last, row = leader.last, training.epochs[-1] if training.epochs else None
    return last is not None and row is not None and last.position.batch + 1 >= row.batches_per_epoch
