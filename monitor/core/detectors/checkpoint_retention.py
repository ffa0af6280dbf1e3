"""No checkpoint that is kept can be used for a rollback."""

from __future__ import annotations

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.format import count
from monitor.core.model import Family, Finding, Severity, Verdict
from monitor.core.state.rows import CheckpointState
from monitor.core.state.view import RunView

KEPT_MIN = 2  # checkpoint_verdict reports a single bad one


class CheckpointRetentionConfig(DetectorConfig):
    """No checkpoint that is still kept is sound, so a rollback would find nothing to go back to."""


@register("checkpoint_retention", CheckpointRetentionConfig, Family.CHECKPOINT, Moment.EVENT, at_most=Severity.INFO)
def checkpoint_retention(run: RunView, config: CheckpointRetentionConfig) -> Finding | None:
    """At least two copies are still kept and none of them is sound. Asked when a verdict arrives.

    The trainer's or the vault's retention removed the sound ones, or they were abandoned with their branch.
    """
    if run.examined is None:
        return None
    kept = [c for c in run.kept_checkpoints() if c.verdict is not Verdict.WAITING]
    if len(kept) < KEPT_MIN or any(_usable(c) for c in kept):
        return None
    kept_ones = f"none of the {count(len(kept))} checkpoints that are kept"
    return run.finding(
        Severity.INFO, since=run.at, signal="checkpoints",
        value=float(len(kept)), limit=0.0,
        summary=f"{kept_ones} is sound: a rollback would find nothing",
    )  # fmt: skip


def _usable(checkpoint: CheckpointState) -> bool:
    return checkpoint.verdict is Verdict.SOUND and not checkpoint.abandoned
