"""Events from the hooks, one handler each. Pure."""

from __future__ import annotations

import msgspec

from monitor.core.model import CheckpointExamined, Severity, Verdict
from monitor.core.policy import generations, incidents, stack_collection
from monitor.core.policy.transaction import Transaction
from monitor.core.state.fold import fold_epoch_end
from monitor.core.state.run import CheckpointState, RankState, RunState
from monitor.core.state.stats import snapshot_of
from trainer_hooks.wire.messages import (
    CheckpointSaved,
    EpochEnded,
    Event,
    HookTrouble,
    NonfiniteSeen,
    OrderApplied,
    PhaseChanged,
    PlanApplied,
    SettingChanged,
    StacksSeen,
    TrainingEnded,
    TrainingStarted,
)

LOG_MAX = 2000  # settings changes and non-finite batches remembered per run; counters hold the rest
CHECKPOINTS_MAX = 500
LEARNED_KEPT = 8  # snapshots of learned statistics: as many rollbacks as a budget is likely to allow


def on_event(tx: Transaction, rank: RankState, event: Event) -> None:
    """Fold one event in, in the order in which its rank sent it."""
    run = tx.run
    match event:
        case TrainingStarted() if rank.rank == 0:
            generations.on_training_started(tx, event)
        case TrainingEnded() if rank.rank == 0:
            generations.on_training_ended(tx, event)
        case NonfiniteSeen():
            run.nonfinite_log.append((run.generation, event))
            del run.nonfinite_log[:-LOG_MAX]
            _note_samples(tx, event)
        case SettingChanged():
            run.settings_log.append((run.generation, _placed(rank, event)))
            del run.settings_log[:-LOG_MAX]
        case PhaseChanged() if rank.rank == 0:  # the others wait where it validates and saves
            run.phase = event.phase
        case StacksSeen():
            stack_collection.on_stacks(tx, rank.rank, event)
        case EpochEnded():
            _on_epoch_ended(tx, rank, event)
        case CheckpointSaved():
            _on_checkpoint_saved(tx, rank, event)
        case OrderApplied():
            incidents.on_answer(tx, event.order_id, event.outcome, event.detail)
        case PlanApplied():
            run.applied.append((run.generation, event))
            del run.applied[:-LOG_MAX]
            incidents.on_plan_applied(tx, event.plan_id, event.when, event.mismatches)
        case HookTrouble():
            off = "; it is switched off" if event.switched_off else ""
            tx.notify(f"hook {event.hook} failed and training went on: {event.error}{off}", Severity.WARNING)


def _placed(rank: RankState, event: SettingChanged) -> SettingChanged:
    """A boundary is declared by the user's code, which need not know where it is."""
    if event.epoch or rank.last is None:
        return event
    at = rank.last.position
    return msgspec.structs.replace(event, epoch=at.epoch, batch=at.batch)


def _note_samples(tx: Transaction, event: NonfiniteSeen) -> None:
    """The names of a live incident's first bad batches; later ones are many and say no more."""
    incident = tx.run.incident
    if incident and incident.attempts == 0 and len(incident.onset_samples) < incidents.SAMPLES_MAX:
        names = dict.fromkeys([*incident.onset_samples, *event.samples])
        incident.onset_samples = list(names)[: incidents.SAMPLES_MAX]


def _on_epoch_ended(tx: Transaction, rank: RankState, event: EpochEnded) -> None:
    if rank.rank != 0:
        return
    fold_epoch_end(tx.run, event, tx.now_s)
    for incident in tx.run.incidents[-1:]:
        if incident.live:
            tx.report(incident)


def _on_checkpoint_saved(tx: Transaction, rank: RankState, event: CheckpointSaved) -> None:
    run = tx.run
    if event.torn:
        tx.notify(
            f"the checkpoint of epoch {event.epoch} was rewritten during each try to copy it; there is no copy of it",
            Severity.WARNING,
        )
        return
    known = next((c for c in run.checkpoints if c.digest == event.digest and not c.dropped), None)
    if known is None:
        known = CheckpointState(
            event.manifest, event.digest, event.epoch, run.generation, event.wall_s, rank.counts.batches
        )
        run.checkpoints.append(known)
        del run.checkpoints[:-CHECKPOINTS_MAX]
    known.learned = snapshot_of(rank.learned)
    for older in [c for c in run.checkpoints if c.learned][:-LEARNED_KEPT]:
        older.learned = None
    incidents.examine(tx, known)


def _healthy_before(run: RunState, saved: int, told: int) -> int:
    """Healthy batches between a save and the event that told of it: copying takes a few batches."""
    leader = run.ranks.get(0)
    bad = leader.learned.nonfinite.counts if leader else []
    return 0 if any(saved < count <= told for count in bad) else max(told - saved, 0)


def on_examination(tx: Transaction, result: CheckpointExamined) -> None:
    """A checkpoint was looked at: the one it is about is known from its event, or from its manifest alone."""
    run, manifest = tx.run, result.manifest
    found = next((c for c in run.checkpoints if c.digest == manifest.digest), None)
    if found is None:
        found = CheckpointState(
            result.name,
            manifest.digest,
            manifest.epoch,
            manifest.generation,
            manifest.saved_s,
            manifest.batches,
        )
        run.checkpoints.append(found)
        del run.checkpoints[:-CHECKPOINTS_MAX]
    if result.path:  # without one there was no manifest to read either
        if found.manifest is None and found.generation == run.generation:
            found.healthy_after += _healthy_before(run, manifest.batches, found.count)
        found.manifest, found.path = manifest, result.path
        found.epoch, found.count, found.generation = manifest.epoch, manifest.batches, manifest.generation
        found.is_best, found.size = manifest.is_best, manifest.size
        found.source, found.ordinal = manifest.source, manifest.ordinal
    found.verdict, found.reasons, found.examined_s = result.verdict, list(result.reasons), tx.now_s
    if manifest.state_finding:  # the trainer turns NaN to zero as it saves: a finite file does not take this back
        found.verdict = Verdict.POISONED
        found.reasons.append(f"just before the save: {manifest.state_finding}")
    generations.on_examined(tx, found)
