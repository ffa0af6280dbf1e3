"""Which checkpoint may be believed, and which copies to keep.

Pure: finite is not clean, and the ledger knows the difference.
"""

from __future__ import annotations

from monitor.core.format import plural
from monitor.core.model import Family, Incident, IncidentState, Position, Severity, Verdict
from monitor.core.policy.in_process import puts_state_back
from monitor.core.policy.settings import Rollback
from monitor.core.state.checkpoints import healthy_after
from monitor.core.state.rows import CheckpointState
from monitor.core.state.run import TrainingState
from trainer_hooks.wire.words import TrainingEnd

SOLVED = (IncidentState.RESOLVED, IncidentState.RECOVERED)
ENDED_UNSOLVED = (IncidentState.GIVEN_UP, IncidentState.CLOSED, IncidentState.LOST)


def judge(checkpoint: CheckpointState, training: TrainingState, rules: Rollback) -> tuple[Verdict, str]:
    """What people may believe of a checkpoint now, and why in one sentence."""
    if checkpoint.verdict is not Verdict.SOUND:
        return checkpoint.verdict, "; ".join(checkpoint.reasons) or "not examined yet"
    if checkpoint.abandoned:
        return Verdict.SUSPECT, "it belongs to a branch that was rolled back"
    live = [i for i in training.ledger.incidents if i.live and not i.tolerated and not _is_past_crash(i, training)]
    for incident in [*live, *_ended_unsolved(checkpoint, training)]:
        if not _before_onset(checkpoint, incident):
            return (
                Verdict.SUSPECT,
                f"saved after the onset of incident {incident.number} at epoch {incident.began.epoch}",
            )
    if checkpoint.level_lost:
        return Verdict.SUSPECT, "the loss was far above its best level when it was saved"
    followed = min(healthy_after(training, checkpoint), rules.healthy_batches)
    came_later = any(i.one_event and i.damaged_at for i in live) or _died_healthy(training, live)
    proven = followed >= rules.healthy_batches
    if not (proven or came_later or _finished_healthy(checkpoint, training)):
        so_far = "" if training.over else " so far"
        seen = plural(followed, "healthy batch")
        return Verdict.SUSPECT, f"{seen} followed it{so_far}, {rules.healthy_batches} prove it"
    if came_later:
        what_followed = "what went wrong came after it"
    elif proven:
        what_followed = f"{plural(followed, 'healthy batch')} followed"
    else:
        what_followed = "training finished without an anomaly after it"
    return Verdict.CLEAN, "; ".join([*checkpoint.reasons, _before_what(checkpoint, training), what_followed])


def _finished_healthy(checkpoint: CheckpointState, training: TrainingState) -> bool:
    """True where nothing was wrong from a state until its training had finished: no more batches come to prove it."""
    last, saved = training.position or training.left_at, (checkpoint.generation, checkpoint.count)
    finished = training.over and training.how == TrainingEnd.FINISHED and checkpoint.generation == training.generation
    if not finished or last is None or training.anomalies.standing:
        return False
    unsolved = [i for i in training.ledger.incidents if not (i.state in SOLVED or i.tolerated)]
    return (
        healthy_after(training, checkpoint) >= last.count - checkpoint.count
        and all(_place(anomaly.since) < saved for anomaly in training.anomalies.past)
        and all(_before_onset(checkpoint, i) or _is_past_crash(i, training) for i in unsolved)
    )


def _ended_unsolved(checkpoint: CheckpointState, training: TrainingState) -> list[Incident]:
    """Incidents that ended with their run, or were given up, in the generation that saved it: nobody saw it healed."""
    return [
        i
        for i in training.ledger.incidents
        if i.state in ENDED_UNSOLVED
        and i.opened_at.generation == checkpoint.generation
        and not (i.tolerated or _is_past_crash(i, training))
    ]


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
    in_place = incident is not None and puts_state_back(training, rules, incident.family)
    return [
        c
        for c in clean_ones(training, rules)
        if c.holds > (0, 0)
        and (tried is None or _is_further_back(c, tried, again=again, in_place=in_place))
        and (_is_own(c, training) if in_place else c.epoch < last and _has_base(c, training))
        and (started is None or c.ordinal == started.ordinal)
    ]


def _is_own(checkpoint: CheckpointState, training: TrainingState) -> bool:
    """True for a snapshot since the loop began to count: in this life of its process, unless that began from a plan."""
    started = training.last_start
    goes_on = started is not None and started.plan_id != ""
    return checkpoint.is_snapshot and (checkpoint.generation == training.generation or goes_on)


def _has_base(checkpoint: CheckpointState, training: TrainingState) -> bool:
    """True where a new start can go on from it: a snapshot needs a checkpoint at the start of its epoch.

    That of a hand-written loop needs a script that asks where to start.
    """
    started = training.last_start
    if started is not None and started.keeps_position and (checkpoint.is_snapshot or _asks_where_to_start(training)):
        return _is_startable(checkpoint)
    return not checkpoint.is_snapshot or checkpoint.epoch == 0 or below(checkpoint, training) is not None


def _asks_where_to_start(training: TrainingState) -> bool:
    return any(_is_startable(checkpoint) for checkpoint in training.checkpoints)


def _is_startable(checkpoint: CheckpointState) -> bool:
    return checkpoint.manifest is not None and checkpoint.manifest.startable


def _is_further_back(checkpoint: CheckpointState, tried: CheckpointState, *, again: bool, in_place: bool) -> bool:
    """What comes after a try that did not help: from a snapshot, minutes old, to a checkpoint.

    Where the state alone goes back there are only snapshots.
    """
    if again and checkpoint.holds == tried.holds:
        return True
    if in_place:
        return checkpoint.count < tried.count
    return checkpoint.holds < tried.holds and not (tried.is_snapshot and checkpoint.is_snapshot and not again)


def below(snapshot: CheckpointState, training: TrainingState) -> CheckpointState | None:
    """The checkpoint at the start of a snapshot's epoch, or None where there is no sound one.

    The framework resumes from it, before the state of the snapshot is put in the place of its own.
    """
    found = [
        c for c in training.checkpoints
        if not (c.is_snapshot or c.abandoned or training.dropped(c))
        and c.verdict is Verdict.SOUND and c.ordinal == snapshot.ordinal and c.epoch == snapshot.epoch
    ]  # fmt: skip
    return found[-1] if found else None


def best_for(checkpoint: CheckpointState, training: TrainingState) -> CheckpointState | None:
    """The best checkpoint that belongs to a state: the last best at or before its epoch, on the same branch."""
    lineage = [
        c for c in training.checkpoints
        if c.is_best and not (training.dropped(c) or c.abandoned)
        and c.ordinal == checkpoint.ordinal and c.epoch <= checkpoint.epoch
    ]  # fmt: skip
    return max(lineage, key=lambda c: (c.epoch, c.generation, c.count), default=None)


def to_keep(training: TrainingState, rules: Rollback, snapshots: int = 3) -> tuple[str, ...]:
    """Digests of the copies worth their space; of `snapshots` as many as given.

    These are the newest clean ones, what may become clean, their best ones, and what a live incident needs.
    """
    clean = _newest(clean_ones(training, rules), rules.keep_clean, snapshots)
    waiting = [c for c in training.checkpoints if not training.dropped(c) and c.verdict is Verdict.WAITING]
    sound = [
        c for c in training.checkpoints if not training.dropped(c) and not c.abandoned and c.verdict is Verdict.SOUND
    ]
    newest_sound = _newest(sound[::-1], rules.keep_clean, snapshots)
    needed = {i.action.target for i in training.ledger.incidents if i.live}
    keep = [*clean, *waiting, *newest_sound, *(c for c in training.checkpoints if c.digest in needed)]
    bests = [best for c in keep if (best := best_for(c, training))]
    bases = [base for c in keep if c.is_snapshot and (base := below(c, training))]
    return tuple(dict.fromkeys(c.digest for c in [*keep, *bests, *bases] if c.digest))


def _newest(newest_first: list[CheckpointState], checkpoints: int, snapshots: int) -> list[CheckpointState]:
    """So many of each kind: snapshots come often, and must not take the place of checkpoints."""
    own = [c for c in newest_first if c.is_snapshot]
    return [*(c for c in newest_first if not c.is_snapshot)][:checkpoints] + own[:snapshots]
