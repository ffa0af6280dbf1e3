"""The first losses after a return to a saved state, held against those that were recorded around it. Pure.

Where the same batches are trained again, each is held against itself; where others are drawn, their level is held
against the one that the loss had when the state was saved. O(1) for a batch.
"""

from __future__ import annotations

from math import isfinite

from monitor.core.model import Comparison, ComparisonOutcome, Incident
from monitor.core.state.levels import margin, newest_level
from monitor.core.state.loss_level import median
from monitor.core.state.rows import BatchLoss, CheckpointState, FirstLosses
from monitor.core.state.run import TrainingState
from monitor.core.state.signals import RING, SPREAD_MIN, Signal, noise_of, scaled_value
from monitor.core.state.stats import snapshot_of
from trainer_hooks.wire.messages import BatchEnded

FIRST = 16  # losses: the medians of two such sets differ by half the spread of one loss, by chance
LEAST = 4  # of them, where no more came
SPREADS = 3.0  # of one loss, that the medians may differ by: six times as much as by chance
EVERY = 128  # batches between two looks for the losses after a state: the trace holds 512
STATES_KEPT = 8  # as many states as their learned statistics are kept of


def keep_following(training: TrainingState) -> None:
    """Keep the first losses after each of the newest states, while the trace still has them."""
    leader = training.ranks.get(0)
    if leader is None:
        return
    for checkpoint in training.checkpoints[-STATES_KEPT:]:
        if _is_incomplete(checkpoint, training.generation):
            following = [b for b in leader.trace.recent if 0 < b.counts.batches - checkpoint.count <= FIRST]
            losses = [loss for batch in following if (loss := _loss_of(batch)) is not None]
            if len(losses) > len(checkpoint.following):
                checkpoint.following = losses
    for old in training.checkpoints[:-STATES_KEPT]:
        old.following = []


def begin(training: TrainingState, incident: Incident, target: CheckpointState | None) -> None:
    """The training has gone back to this state, as the incident's plan says: its next batches are compared."""
    training.first_losses = None
    plan, learned = incident.action.plan, target.learned if target is not None else None
    if plan is None or target is None:
        return
    loss = snapshot_of(learned).signals.get("loss") if learned is not None else None
    started = training.last_start
    elsewhere = plan.in_process and started is not None and started.keeps_position  # its loop goes on where it is
    again = target.following if plan.replay and plan.snapshot is not None and not elsewhere else []
    training.first_losses = FirstLosses(loss, list(again), _before_onset(target, incident))


def _before_onset(target: CheckpointState, incident: Incident) -> list[BatchLoss]:
    onset = incident.began
    if onset.generation != target.generation:
        return list(target.following)
    return [each for each in target.following if (each.epoch, each.batch) < (onset.epoch, onset.batch)]


def take_first(training: TrainingState, batch: BatchEnded) -> None:
    """Rank 0 has ended a batch."""
    first = training.first_losses
    if first is not None and len(first.seen) < FIRST and (loss := _loss_of(batch)) is not None:
        first.seen.append(loss)


def compared(first: FirstLosses | None, *, over: bool) -> Comparison | None:
    """What the comparison says; None: too few losses have come yet. `over`: no more will come."""
    if first is None or (len(first.seen) < FIRST and not over):
        return None
    if first.loss is None or (first.loss.signed and not first.loss.warm):
        return _not_comparable("too few losses were known when the state was saved")
    if len(first.seen) < LEAST:
        return _not_comparable(f"fewer than {LEAST} losses came since")
    return _with_themselves(first, first.loss) or _with_their_level(first, first.loss)


def _with_themselves(first: FirstLosses, signal: Signal) -> Comparison | None:
    """The same batches, before and after. None: too few of them are known from before."""
    then = {(each.epoch, each.batch): each.loss for each in first.recorded}
    pairs = [(each.loss, then[each.epoch, each.batch]) for each in first.seen if (each.epoch, each.batch) in then]
    if len(pairs) < LEAST:
        return None
    now, before = median([now for now, _ in pairs]), median([before for _, before in pairs])
    apart = [scaled_value(signal, now) - scaled_value(signal, before) for now, before in pairs]
    away = median(apart)
    own = sum(abs(each - away) for each in apart) / len(apart)  # batches that are augmented anew differ by themselves
    numbers = f"median {now:.4g}, before {before:.4g}"
    if abs(away) <= SPREADS * max(noise_of(signal), own, SPREAD_MIN):
        return Comparison(
            ComparisonOutcome.PROVEN, f"the first {len(pairs)} losses are those of the same batches before ({numbers})"
        )
    return Comparison(
        ComparisonOutcome.NOT_PROVEN,
        f"the first {len(pairs)} losses are not those of the same batches before ({numbers})",
    )


def _with_their_level(first: FirstLosses, signal: Signal) -> Comparison:
    level = newest_level(signal)
    if level is None and len(first.after) >= LEAST:  # it was saved early: the losses right after it tell as much
        level = median([scaled_value(signal, each.loss) for each in first.after])
    if level is None:
        return _not_comparable("too few losses were known when the state was saved")
    now = median([scaled_value(signal, each.loss) for each in first.seen])
    numbers = f"median {signal.unscaled(now):.4g}, then {signal.unscaled(level):.4g}"
    if now <= level + margin(signal):
        at = f"the first {len(first.seen)} losses are at the level that the loss had when the state was saved"
        return Comparison(ComparisonOutcome.PROVEN, f"{at} ({numbers})")
    if not signal.warm or now <= signal.high_of_last(RING):  # a young loss may rise, and a wild one be this high again
        return _not_comparable(f"the loss had not settled when the state was saved ({numbers})")
    above = f"the first {len(first.seen)} losses are above the level that the loss had when the state was saved"
    return Comparison(ComparisonOutcome.NOT_PROVEN, f"{above} ({numbers})")


def _not_comparable(why: str) -> Comparison:
    return Comparison(ComparisonOutcome.NOT_COMPARABLE, why)


def _is_incomplete(checkpoint: CheckpointState, generation: int) -> bool:
    """True while losses of the batches after it may still come; before it is examined their place is not known."""
    here = checkpoint.generation == generation and checkpoint.manifest is not None and not checkpoint.abandoned
    return here and len(checkpoint.following) < FIRST


def _loss_of(batch: BatchEnded) -> BatchLoss | None:
    """None: it is not known, or not finite."""
    if batch.nonfinite or batch.loss is None or not isfinite(batch.loss):
        return None
    return BatchLoss(batch.epoch, batch.batch, batch.loss)
