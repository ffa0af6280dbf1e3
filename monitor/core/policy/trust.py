"""Which checkpoint may be believed, and which copies to keep.

Pure: finite is not clean, and the ledger knows the difference.
"""

from __future__ import annotations

from monitor.core.model import Family, Incident, Position, Severity, Verdict
from monitor.core.policy.settings import Rollback
from monitor.core.state.checkpoints import healthy_after
from monitor.core.state.rows import CheckpointState
from monitor.core.state.run import TrainingState


def judge(checkpoint: CheckpointState, training: TrainingState, rules: Rollback) -> tuple[Verdict, str]:
    """What people may believe of a checkpoint now, and why in one sentence."""
    if checkpoint.verdict is not Verdict.SOUND:
        return checkpoint.verdict, "; ".join(checkpoint.reasons) or "not examined yet"
    if checkpoint.abandoned:
        return Verdict.SUSPECT, "it belongs to a branch that was rolled back"
    live = [i for i in training.ledger.incidents if i.live and not i.tolerated and not _is_past_crash(i, training)]
    for incident in live:
        if not _before_onset(checkpoint, incident):
            return (
                Verdict.SUSPECT,
                f"saved after the onset of incident {incident.number} at epoch {incident.began.epoch}",
            )
    if checkpoint.level_lost:
        return Verdict.SUSPECT, "the loss was far above its best level when it was saved"
    followed = min(healthy_after(training, checkpoint), rules.healthy_batches)
    came_later = any(i.one_event and i.damaged_at for i in live) or _died_healthy(training, live)
    if followed < rules.healthy_batches and not came_later:
        return Verdict.SUSPECT, f"{followed} healthy batches followed it so far, {rules.healthy_batches} prove it"
    return Verdict.CLEAN, "; ".join(
        [
            *checkpoint.reasons,
            _before_what(checkpoint, training),
            "what went wrong came after it" if came_later else f"{followed} healthy batches followed",
        ]
    )


def _is_past_crash(incident: Incident, training: TrainingState) -> bool:
    """A crash says nothing of what is saved after the new start."""
    return incident.family == Family.CRASH and incident.opened_at.generation != training.generation


def _died_healthy(training: TrainingState, live: list[Incident]) -> bool:
    """True where its process died, and nothing else was wrong: no batches need to follow a state to prove it."""
    died = training.died_at
    if died is None or training.anomalies.standing:
        return False
    return all(_place(i.damaged_at or i.onset) >= _place(died) for i in live)


def _before_what(checkpoint: CheckpointState, training: TrainingState) -> str:
    """What is known to have come before it."""
    place = (checkpoint.generation, checkpoint.count)
    before = [f for f in training.findings if f.severity is not Severity.INFO and _place(f.since) < place]
    if not before:
        return "saved before every known anomaly"
    return f"saved after {before[-1].detector} at epoch {before[-1].since.epoch}, with the loss at its level"


def _place(position: Position) -> tuple[int, int]:
    return position.generation, position.count


def _before_onset(checkpoint: CheckpointState, incident: Incident) -> bool:
    """Bad batches that the guard skipped on a clean state condemn nothing once it is known since when it is damaged."""
    return (checkpoint.generation, checkpoint.count) < _place(incident.damaged_at or incident.onset)


def _kept(training: TrainingState) -> list[CheckpointState]:
    """The checkpoints whose copy is still there, oldest first."""
    return [c for c in training.checkpoints if not training.dropped(c)]


def clean_ones(training: TrainingState, rules: Rollback) -> list[CheckpointState]:
    """Every clean checkpoint that is still there, newest first."""
    kept = [
        c for c in training.checkpoints if not training.dropped(c) and judge(c, training, rules)[0] is Verdict.CLEAN
    ]
    return sorted(kept, key=lambda c: (c.generation, c.count), reverse=True)


def plausible_ones(training: TrainingState, rules: Rollback, incident: Incident | None) -> list[CheckpointState]:
    """Clean ones that could be resumed from and lie no later than what was tried already, newest first.

    What was tried with strengthened settings is not tried again.
    """
    started = training.last_start
    last = started.epochs if started else 0
    tried = next((c for c in training.checkpoints if incident and c.digest == incident.action.target), None)
    again = incident is not None and incident.action.plan is not None and not incident.action.changes
    return [
        c
        for c in clean_ones(training, rules)
        if 0 < c.epoch < last
        and (tried is None or c.epoch < tried.epoch + again)
        and (started is None or c.ordinal == started.ordinal)
    ]


def best_for(checkpoint: CheckpointState, training: TrainingState) -> CheckpointState | None:
    """The best checkpoint that belongs to a state: the last best at or before its epoch, on the same branch."""
    lineage = [
        c for c in training.checkpoints
        if c.is_best and not (training.dropped(c) or c.abandoned)
        and c.ordinal == checkpoint.ordinal and c.epoch <= checkpoint.epoch
    ]  # fmt: skip
    return max(lineage, key=lambda c: (c.epoch, c.generation, c.count), default=None)


def to_keep(training: TrainingState, rules: Rollback) -> tuple[str, ...]:
    """Digests of the copies worth their space.

    These are the newest clean ones, what may become clean, their best ones, and what a live incident needs.
    """
    clean = clean_ones(training, rules)[: rules.keep_clean]
    waiting = [c for c in training.checkpoints if not training.dropped(c) and c.verdict is Verdict.WAITING]
    newest_sound = [
        c for c in training.checkpoints if not training.dropped(c) and not c.abandoned and c.verdict is Verdict.SOUND
    ][-rules.keep_clean :]
    needed = {i.action.target for i in training.ledger.incidents if i.live}
    keep = [*clean, *waiting, *newest_sound, *(c for c in training.checkpoints if c.digest in needed)]
    bests = [best for c in keep if (best := best_for(c, training))]
    return tuple(dict.fromkeys(c.digest for c in [*keep, *bests] if c.digest))
