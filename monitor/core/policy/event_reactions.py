"""What the policy does about events of the hooks and about examined checkpoints. Pure."""

from __future__ import annotations

from monitor.core.model import AlertKind, RaiseAlert, Severity, Verdict
from monitor.core.policy import good_news, incidents, order_answers, stack_collection, starts_and_ends, texts
from monitor.core.policy.cure_watch import keep
from monitor.core.policy.facts_at_open import SAMPLES_MAX
from monitor.core.policy.transaction import Transaction
from monitor.core.state.rows import CheckpointState
from monitor.core.state.run import RankState
from trainer_hooks.wire.messages import (
    CheckpointSaved,
    EpochEnded,
    Event,
    HookTrouble,
    NonfiniteSeen,
    OrderApplied,
    PlanApplied,
    StacksSeen,
    TrainingEnded,
    TrainingStarted,
)


def on_event(tx: Transaction, rank: RankState, event: Event, saved: CheckpointState | None) -> None:
    """React to one event. `saved`: the checkpoint it reports, if there is a copy of it."""
    match event:
        case TrainingStarted() if rank.rank == 0:
            starts_and_ends.on_training_started(tx, event)
        case TrainingEnded() if rank.rank == 0:
            starts_and_ends.on_training_ended(tx, event)
        case NonfiniteSeen():
            _note_samples(tx, event)
        case StacksSeen():
            stack_collection.on_stacks(tx, rank.rank, event)
        case EpochEnded() if rank.rank == 0:
            _on_epoch_ended(tx, event)
        case CheckpointSaved():
            _on_checkpoint_saved(tx, event, saved)
        case OrderApplied():
            order_answers.on_answer(tx, event.order_id, event.outcome, event.detail)
        case PlanApplied():
            order_answers.on_plan_applied(tx, event.plan_id, event.when, event.mismatches)
        case HookTrouble():
            _on_hook_trouble(tx, event)
        case _:
            pass  # facts alone: settings, phases


def _on_epoch_ended(tx: Transaction, event: EpochEnded) -> None:
    for incident in tx.ledger.incidents[-1:]:
        if incident.live:
            tx.report(incident)
    if not event.redone:
        good_news.on_epoch_ended(tx, event)


def _on_hook_trouble(tx: Transaction, event: HookTrouble) -> None:
    """Training went on. Where a part of the watch is missing now, people are alerted: once for each part."""
    off = "; it is switched off" if event.switched_off else ""
    lost = f": {event.lost}" if event.lost else ""
    severity = Severity.CRITICAL if event.lost else Severity.WARNING
    tx.notify(f"hook {event.hook} failed and training went on: {event.error}{off}{lost}", severity)
    if event.lost:
        about = f"{tx.alert_key}/unwatched/{tx.training.generation}/{event.hook}"
        title = f"{tx.name}: {event.lost}"
        text = texts.unwatched(event.hook, event.error)
        kind = AlertKind.UNWATCHED
        tx.effects.append(RaiseAlert(about, tx.run.spec.run, kind, Severity.CRITICAL, "", title, text, tx.now_s))


def _note_samples(tx: Transaction, event: NonfiniteSeen) -> None:
    """Keep the samples of a live incident's first bad batches; later ones are many and add nothing."""
    incident = tx.training.incident
    if incident and incident.totals.attempts == 0 and len(incident.at_open.samples) < SAMPLES_MAX:
        names = dict.fromkeys([*incident.at_open.samples, *event.samples])
        incident.at_open.samples = list(names)[:SAMPLES_MAX]


def _on_checkpoint_saved(tx: Transaction, event: CheckpointSaved, saved: CheckpointState | None) -> None:
    if saved is None:
        tx.notify(
            f"the checkpoint of epoch {event.epoch} was rewritten during each try to copy it; there is no copy of it",
            Severity.WARNING,
        )
        return
    tx.ledger.copies.dropped.pop(saved.digest, None)
    incidents.examine(tx, saved)


def on_examined(tx: Transaction, checkpoint: CheckpointState) -> None:
    """A verdict arrived: write a line, choose the copies to keep, and take the decision that waited for it."""
    ledger = tx.ledger
    if checkpoint.digest in ledger.copies.examining:
        ledger.copies.examining.remove(checkpoint.digest)
    reasons = "; ".join(checkpoint.reasons)
    bad = checkpoint.verdict is not Verdict.SOUND
    if bad or not checkpoint.is_snapshot:  # sound ones come every few minutes
        tx.notify(f"{checkpoint.title}: {checkpoint.verdict} ({reasons})", Severity.WARNING if bad else Severity.INFO)
    keep(tx)
    incident = tx.training.incident
    if incident and incident.action.waiting_for == checkpoint.digest:
        incidents.decide(tx, incident)
