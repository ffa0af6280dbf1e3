"""What the decision table asks about a training with a live incident: is its state clean, and what explains it. Pure.

Clean takes three things: parameters, buffers and optimizer state are finite; no finite anomaly stands since before the
first bad batch; and the finite losses are at their level. "Finite everywhere" alone was called clean once, of weights
whose loss had gone from 41 to 1e19.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from monitor.core.model import Family, Incident, Position, Verdict
from monitor.core.policy.settings import Policy
from monitor.core.state.anomalies import onset_of, standing_at
from monitor.core.state.learned import Learned, SettingJump
from monitor.core.state.levels import off_since
from monitor.core.state.run import RankState, TrainingState
from monitor.core.state.setting_jumps import is_worse_than_at_first
from monitor.core.state.stats import in_a_row, within
from trainer_hooks.wire.enums import StrEnum
from trainer_hooks.wire.messages import BatchEnded
from trainer_hooks.wire.words import GUARD_STEP

WINDOW_BATCHES = 1000  # over which the share of bad batches is taken
EXPLAINS_RANK_BATCHES = 8  # bad batches, all from one of two ranks, are chance in less than 1 % (2 ** -7)


class DamageKind(StrEnum):
    """In which way a state is not clean."""

    NONFINITE = "nonfinite"  # parameters, buffers or a step that was taken on NaN
    ALL_BAD = "all bad"  # every batch is bad now, and was not before: finite weights that give nothing finite
    FINITE = "finite"  # finite weights, and a loss far above its best level


@dataclass(frozen=True, slots=True)
class Damage:
    """The state is not clean."""

    kind: DamageKind
    reason: str  # a clause: "the state is damaged: " goes before it
    since: Position  # of the first thing that was wrong
    one_event: bool  # True: one event did it, and is over: the settings were not the cause


@dataclass(frozen=True, slots=True)
class BadBatches:
    """Non-finite batches since the onset of an incident, of the rank that has most of them."""

    count: int
    of: int  # batches since the onset, the first bad one included
    in_a_row: int  # up to the last batch
    share: float  # of the last WINDOW_BATCHES, or of those since the onset where they are fewer


def bad_batches(training: TrainingState, incident: Incident) -> BadBatches:
    """How many batches were bad since the onset, and how densely."""
    rank = _worst_rank(training)
    if rank is None:
        return BadBatches(0, 0, 0, 0.0)
    now, counts = rank.counts.batches, rank.learned.nonfinite.counts
    here = incident.onset.generation == training.generation
    first = incident.onset.count if here else 1
    of = max(now - first + 1, 1)
    window = min(of, WINDOW_BATCHES)
    since = len(counts) - bisect_left(counts, first)
    return BadBatches(since, of, in_a_row(counts, now), within(rank.learned.nonfinite, now, window) / window)


def _worst_rank(training: TrainingState) -> RankState | None:
    return max(training.ranks.values(), key=lambda rank: rank.counts.nonfinite_batches, default=None)


def all_bad_since_start(training: TrainingState) -> int:
    """How many first batches of this generation were bad, where all were; 0: a good one came."""
    rank = _worst_rank(training)
    if rank is None or rank.counts.nonfinite_batches < rank.counts.batches:
        return 0
    return rank.counts.batches


def damage(training: TrainingState, policy: Policy) -> Damage | None:
    """What is wrong with the state, since when; None: it is clean. Bad batches before that, on a clean state, are none.

    It is dated back to an anomaly that still stood when it came.
    """
    most = policy.table.first_bad
    found = (
        _nonfinite(training)
        or _poisoned_twice(training)
        or _all_bad(training, most)
        or _jump_of_a_setting(training)
        or _level_lost(training)
        or _jump_stands(training)
    )
    if found is None:
        return None
    kind, reason, since = found
    stood = standing_at(training, since)
    one_event = kind is DamageKind.NONFINITE if stood is None else stood.family == Family.SETTINGS
    return Damage(kind, reason, onset_of(training, since), one_event)


def _nonfinite(training: TrainingState) -> tuple[DamageKind, str, Position] | None:
    guarded = training.started is not None and training.started.guarded and GUARD_STEP not in training.unwatched
    for rank in training.ranks.values():
        if rank.learned.uncured:
            what = "parameters, BatchNorm statistics or a step that was taken are not finite"
        elif not guarded and rank.unskipped > rank.unskipped_given_up:
            what = "nothing skipped the step of a bad batch"
        else:
            continue
        bad = [b for b in rank.trace.recent if b.nonfinite and not b.cured] or rank.trace.recent[-1:]
        return DamageKind.NONFINITE, what, _position(training, bad[0]) if bad else _now(training, rank)
    return None


def _poisoned_twice(training: TrainingState) -> tuple[DamageKind, str, Position] | None:
    """The newest two states that were saved are poisoned, whatever the batches say: a guard may have failed."""
    saved = {c.count: c for c in training.checkpoints if c.generation == training.generation and not c.abandoned}
    examined = [c for _, c in sorted(saved.items()) if c.verdict is not Verdict.WAITING]
    if [c.verdict for c in examined[-2:]] != [Verdict.POISONED] * 2:
        return None
    sound = max((c.count for c in examined if c.verdict is Verdict.SOUND), default=0)
    since = Position(training.generation, examined[-2].epoch, 0, sound + 1)
    return DamageKind.NONFINITE, "the last two checkpoints hold numbers that are not finite", since


def _all_bad(training: TrainingState, most: int) -> tuple[DamageKind, str, Position] | None:
    """Finite weights that give nothing finite any more."""
    rank = _worst_rank(training)
    if rank is None or (row := in_a_row(rank.learned.nonfinite.counts, rank.counts.batches)) < most:
        return None
    recent = rank.trace.recent
    since = _position(training, recent[max(len(recent) - row, 0)]) if recent else _now(training, rank)
    return DamageKind.ALL_BAD, f"the last batches, {most} at least, are all not finite", since


def damaging_jump(training: TrainingState) -> tuple[Learned, SettingJump] | None:
    """The jump of a setting, for no known reason, since which the loss left its level; see SettingJump.off."""
    for rank in training.ranks.values():
        jump = rank.learned.jump
        if jump is not None and jump.off and jump.at.generation == training.generation:
            return rank.learned, jump
    return None


def may_be_meant(training: TrainingState) -> bool:
    """True where that setting stands, and the loss is not worse than at the start: so it is after many a restart."""
    found = damaging_jump(training)
    return found is not None and not found[1].back and not is_worse_than_at_first(*found)


def comes_again(training: TrainingState) -> bool:
    """True where that setting had jumped at the same place before the training went back: its script does that."""
    found = damaging_jump(training)
    if found is None:
        return False
    name, at = found[1].name, found[1].at
    earlier = [a.since for a in training.anomalies.past if a.family == Family.SETTINGS and a.signal == name]
    return any((p.epoch, p.batch) == (at.epoch, at.batch) and p != at for p in earlier)


def setting_at_opening(training: TrainingState, incident: Incident) -> str:
    """The setting that had jumped for no known reason where an incident opened, and explains it; empty: none."""
    stood = standing_at(training, incident.opened_at)
    return stood.signal if stood is not None and stood.family == Family.SETTINGS else ""


def _jump_of_a_setting(training: TrainingState) -> tuple[DamageKind, str, Position] | None:
    found = damaging_jump(training)
    if found is None or found[1].calm:
        return None
    learned, jump = found
    level = learned.signals["loss"].unscaled(jump.level)
    reason = f"the loss is far from {level:.4g}, its level before {jump.name} jumped for no known reason"
    return DamageKind.FINITE, f"{reason}, on finite weights", jump.at


def _level_lost(training: TrainingState) -> tuple[DamageKind, str, Position] | None:
    """A loss far above its best level. Where its last values are not finite nobody knows."""
    for rank in training.ranks.values():
        since = off_since(rank.learned)
        if since is None:
            continue
        loss, best = rank.learned.signals["loss"], rank.learned.loss_blocks.best or 0.0
        reason = f"the loss is far above {loss.unscaled(best):.4g}, its best level, on finite weights"
        return DamageKind.FINITE, reason, since
    return None


def _jump_stands(training: TrainingState) -> tuple[DamageKind, str, Position] | None:
    """The loss jumped before the last bad batches, and no finite one has come since to show that it is back."""
    jumped = next((a for a in training.anomalies.standing if a.family == Family.LOSS), None)
    rank = training.ranks.get(jumped.rank) if jumped else None
    if jumped is None or rank is None or not rank.learned.nonfinite.counts:
        return None
    if jumped.since.generation != training.generation or rank.learned.nonfinite.counts[-1] < jumped.since.count:
        return None
    return DamageKind.FINITE, f"{jumped.summary}, and it has not come back since", jumped.since


def _now(training: TrainingState, rank: RankState) -> Position:
    return rank.last.position if rank.last else Position(training.generation, 1, 0, rank.counts.batches)


def _position(training: TrainingState, batch: BatchEnded) -> Position:
    return Position(training.generation, batch.epoch, batch.batch, batch.counts.batches)


def rank_to_blame(training: TrainingState) -> int | None:
    """The only rank of several whose own loss is not finite; None: there is none, or chance explains it."""
    ranks = training.ranks.values()
    bad = [rank for rank in ranks if rank.counts.nonfinite_loss]
    if len(ranks) < 2 or len(bad) != 1 or bad[0].counts.nonfinite_loss < EXPLAINS_RANK_BATCHES:
        return None
    return bad[0].rank


def began_early(training: TrainingState, incident: Incident, share: float) -> bool:
    """True where the onset lies within the first `share` of the whole training."""
    started, onset = training.started, incident.onset
    if started is None or not started.epochs or not started.batches_per_epoch:
        return False
    total = started.epochs * started.batches_per_epoch
    return (onset.epoch - 1) * started.batches_per_epoch + onset.batch < share * total
