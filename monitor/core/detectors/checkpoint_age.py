"""No checkpoint was saved for too long."""

from __future__ import annotations

from itertools import pairwise

from monitor.core.detectors import Moment, register
from monitor.core.model import Finding, Severity
from monitor.core.policy.settings import CheckpointAge
from monitor.core.state.run import CheckpointState
from monitor.core.state.view import RunView

STRIDE = 64  # batches between two looks
CHECKPOINTS_SEEN = 64  # the newest ones
DISTANCE_MIN = 100  # batches: shorter ones are a best checkpoint beside the last one, or a test


@register("checkpoint_age", Moment.BATCH)
def checkpoint_age(run: RunView, config: CheckpointAge) -> Finding | None:
    """The last one is `intervals` times as many batches old as any two lay apart: what is trained since would be lost.

    In batches, so that a validation or a night's sleep is no distance. A note where only best ones are saved, which
    come when they come, and where there is none at all after a `share` of the training: a trainer whose saves the
    hooks don't see looks the same. Silent in the first epoch.
    """
    if run.rank or run.at.count % STRIDE or run.run_state is None:
        return None
    saved = run.run_state.checkpoints[-CHECKPOINTS_SEEN:]
    if not saved:
        return _never(run, config)
    longest = _longest(saved)
    last = max((c.count for c in saved if c.generation == run.at.generation), default=0)
    since = run.at.count - last
    if longest is None or since <= config.intervals * longest:
        return None
    severity = Severity.INFO if all(c.is_best for c in saved) else Severity.WARNING
    return run.finding(
        "checkpoint_age", "checkpoint", severity, since=run.before(since - 1), signal="checkpoint_age",
        value=float(since), limit=config.intervals * longest,
        summary=f"no checkpoint for {since} batches, where {longest} were the most between two: all of it would be "
        "lost",
    )  # fmt: skip


def _longest(saved: list[CheckpointState]) -> int | None:
    """Batches between two saves, the start of a generation being one; None: nothing shows how often it saves."""
    apart: list[int] = []
    for generation in {c.generation for c in saved}:
        counts = sorted(c.count for c in saved if c.generation == generation)
        apart += [after - before for before, after in pairwise([0, *counts])]
    longest = max(apart, default=0)
    return longest if longest >= DISTANCE_MIN else None


def _never(run: RunView, config: CheckpointAge) -> Finding | None:
    training = run.run_state.training if run.run_state else None
    if training is None or run.at.epoch <= training.start_epoch or not training.batches_per_epoch:
        return None
    whole = (training.epochs - training.start_epoch + 1) * training.batches_per_epoch
    if run.at.count < config.share * whole:
        return None
    return run.finding(
        "checkpoint_age", "checkpoint", Severity.INFO, since=run.before(run.at.count), signal="checkpoint_age",
        value=float(run.at.count), limit=config.share * whole,
        summary=f"{run.at.count / whole:.0%} of the training is done and no checkpoint was seen: nothing could be "
        "gone back to",
    )  # fmt: skip
