"""No checkpoint was saved for too long."""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.format import batches, count, whole_percent
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.occasions import EVERY_64
from monitor.core.state.rows import CheckpointState
from monitor.core.state.view import RunView

STRIDE = 64  # batches between two looks
CHECKPOINTS_SEEN = 64  # the newest ones
DISTANCE_MIN = 100  # batches: shorter ones are a best checkpoint beside the last one, or a test


class CheckpointAgeConfig(DetectorConfig):
    """No checkpoint was saved for much longer than before: a crash now would lose all training since the last one."""

    intervals: float = Field(
        3.0,
        gt=1,
        description="A checkpoint is too old when more batches have passed than this many times the longest distance "
        "between two so far. Schedules that double their distance stay below 3.",
    )
    share: float = Field(
        0.25,
        gt=0,
        le=1,
        description="A training without any checkpoint is reported after this share of all its batches, from 0 to 1. "
        "A quarter is more than any usual schedule leaves unsaved.",
    )


@register(
    "checkpoint_age", CheckpointAgeConfig, Family.CHECKPOINT, Moment.BATCH, at_most=Severity.WARNING, needs=EVERY_64
)
def checkpoint_age(run: RunView, config: CheckpointAgeConfig) -> Finding | None:
    """The last one is older than `intervals` times the longest distance between two: training since would be lost.

    Distances are in batches, so that a validation or a paused host adds nothing. It only informs where all saved ones
    are best ones, which come at no fixed distance, and where there is none at all after a `share` of the training: a
    trainer whose saves the hooks don't see looks the same. Silent in the first epoch.
    """
    if run.rank or run.at.count % STRIDE:
        return None
    saved = [c for c in run.training.checkpoints if not c.is_snapshot][-CHECKPOINTS_SEEN:]
    if not saved:
        return _never(run, config)
    longest = _longest(saved)
    last = max((c.count for c in saved if c.generation == run.at.generation), default=0)
    since = run.at.count - last
    if longest is None or since <= config.intervals * longest:
        return None
    severity = Severity.INFO if all(c.is_best for c in saved) else Severity.WARNING
    return run.finding(
        severity, since=run.before(since - 1), signal="checkpoint_age",
        value=float(since), limit=config.intervals * longest,
        summary=f"no checkpoint for {batches(since)}; at most {count(longest)} lay between two before: "
        "a crash would lose all of it",
    )  # fmt: skip


def _longest(saved: list[CheckpointState]) -> int | None:
    """Batches between two saves, the start of a generation being one; None: nothing shows how often it saves."""
    apart: list[int] = []
    for generation in {c.generation for c in saved}:
        counts = sorted(c.count for c in saved if c.generation == generation)
        apart += [after - before for before, after in pairwise([0, *counts])]
    longest = max(apart, default=0)
    return longest if longest >= DISTANCE_MIN else None


def _never(run: RunView, config: CheckpointAgeConfig) -> Finding | None:
    training = run.training.started
    if training is None or run.at.epoch <= training.start_epoch or not training.batches_per_epoch:
        return None
    whole = (training.epochs - training.start_epoch + 1) * training.batches_per_epoch
    if run.at.count < config.share * whole:
        return None
    return run.finding(
        Severity.INFO, since=run.before(run.at.count), signal="checkpoint_age",
        value=float(run.at.count), limit=config.share * whole,
        summary=f"{whole_percent(run.at.count / whole)} of the training is done and no checkpoint was seen: "
        f"{_what_it_means(run)}",
    )  # fmt: skip


def _what_it_means(run: RunView) -> str:
    """A loop that goes on where it is goes back to snapshots, but can't be started again from one."""
    started = run.training.started
    alone = started is not None and started.keeps_position and any(c.is_snapshot for c in run.training.checkpoints)
    return "a crash would lose all of it" if alone else "a rollback would find nothing"
