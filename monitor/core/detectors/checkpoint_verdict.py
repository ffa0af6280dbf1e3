"""A checkpoint is poisoned, torn or can't be verified."""

from __future__ import annotations

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.model import Family, Finding, Severity, Verdict
from monitor.core.state.rows import CheckpointState
from monitor.core.state.view import RunView
from trainer_hooks.wire.messages import CheckpointSaved

BAD = (Verdict.POISONED, Verdict.UNVERIFIED)


class CheckpointVerdictConfig(DetectorConfig):
    """A checkpoint holds non-finite values, was torn, or cannot be verified; two poisoned in a row are critical."""


@register("checkpoint_verdict", CheckpointVerdictConfig, Family.CHECKPOINT, Moment.EVENT, at_most=Severity.CRITICAL)
def checkpoint_verdict(run: RunView, config: CheckpointVerdictConfig) -> Finding | None:
    """Names the checkpoint, what is wrong with it, and the newest sound one that is left.

    Two poisoned ones in a row are critical, whatever the batches say: what is trained from there is lost, and a guard
    that failed may be why no batch showed it. A format that can't be read is reported once: further unverified
    checkpoints of this training are not reported.
    """
    if isinstance(run.event, CheckpointSaved) and run.event.torn:
        what = (
            f"the copy of the checkpoint of epoch {run.event.epoch} is torn: the file was rewritten before a copy was "
            "complete. The file itself may be whole"
        )
        return _finding(run, what, run.event.epoch, "torn")
    checkpoint = run.examined
    if checkpoint is None or checkpoint.verdict not in BAD:
        return None
    if checkpoint.verdict is Verdict.UNVERIFIED and _so_was_the_last(run, checkpoint):
        return None
    why = "; ".join(checkpoint.reasons) or "no reason was given"
    what = f"the {checkpoint.title} is {checkpoint.verdict}: {why}"
    again = run.training.shows_damage(checkpoint) and _last_shows_damage(run, checkpoint)
    if again:
        what = f"the second checkpoint in a row is poisoned: {what}"
    return _finding(
        run, what, checkpoint.epoch, str(checkpoint.verdict), Severity.CRITICAL if again else Severity.WARNING
    )


def _finding(run: RunView, what: str, epoch: int, verdict: str, severity: Severity = Severity.WARNING) -> Finding:
    sound = next((c for c in reversed(run.kept_checkpoints()) if _sound(c)), None)
    left = f"the newest sound one is of epoch {sound.epoch}" if sound else "no sound one is left"
    return run.finding(
        severity, since=run.at, signal=verdict, value=float(epoch),
        limit=float(sound.epoch if sound else 0), summary=f"{what}; {left}",
    )  # fmt: skip


def _sound(checkpoint: CheckpointState) -> bool:
    return checkpoint.verdict is Verdict.SOUND and not checkpoint.abandoned


def _so_was_the_last(run: RunView, checkpoint: CheckpointState) -> bool:
    """Of those examined before, the one saved last has the same verdict."""
    others = _others(run, checkpoint)
    return bool(others) and others[-1].verdict is checkpoint.verdict and not others[-1].abandoned


def _last_shows_damage(run: RunView, checkpoint: CheckpointState) -> bool:
    """The one saved last of another batch is poisoned too, and the training was not found finite since."""
    moment = checkpoint.generation, checkpoint.count
    others = [c for c in _others(run, checkpoint) if (c.generation, c.count) != moment]
    return bool(others) and run.training.shows_damage(others[-1]) and not others[-1].abandoned


def _others(run: RunView, checkpoint: CheckpointState) -> list[CheckpointState]:
    return [c for c in run.training.checkpoints if c is not checkpoint and c.verdict is not Verdict.WAITING]
