"""What a batch means to checkpoints and to a live incident: what follows a checkpoint, and what proves a cure. Pure."""

from __future__ import annotations

from monitor.core.model import Incident, IncidentState, KeepCheckpoints, Severity
from monitor.core.policy import texts
from monitor.core.policy.diagnosing import diagnosed_again
from monitor.core.policy.incidents import examine
from monitor.core.policy.lifecycle import IncidentEvent
from monitor.core.policy.transaction import Transaction
from monitor.core.policy.trust import plausible_ones, to_keep
from monitor.core.state.fold import totals_now
from trainer_hooks.wire.messages import BatchEnded, Nonfinite, SkippedBy

SAID_SINGLY = 12  # bad batches of a generation told one by one; later ones at every doubling


def on_batch(tx: Transaction, batch: BatchEnded, *, new: int, bad: int) -> None:
    """One batch of rank 0: `new` batches since the last record, `bad` of them not finite."""
    if bad:
        _suspect(tx, batch)
    _follow_checkpoints(tx, new, bad)
    incident = tx.run.incident
    if incident is not None:
        diagnosed_again(tx, incident)
    if incident is None:
        _calm_down(tx)
    elif incident.state in (IncidentState.WATCHING, IncidentState.RELAPSED):
        _progress(tx, incident, batch, new, bad)


def _suspect(tx: Transaction, batch: BatchEnded) -> None:
    """Tell of it, and have the checkpoint to go back to examined now, so that a rule that fires later need not wait."""
    run = tx.run
    _notify_bad(tx, batch)
    if run.suspicion_s is None:
        run.suspicion_s = tx.now_s
        for checkpoint in plausible_ones(run, tx.policy.rollback, None)[:1]:
            examine(tx, checkpoint)


def _notify_bad(tx: Transaction, batch: BatchEnded) -> None:
    seen = batch.counts.nonfinite_batches
    if seen > SAID_SINGLY and seen & (seen - 1):
        return
    kinds = [k.name.lower() for k in Nonfinite if batch.nonfinite & k and k.name]
    what = " and ".join(kinds) or "a batch between two records"
    done = {str(SkippedBy.GUARD): "step skipped", str(SkippedBy.SCALER): "step skipped by the scaler"}.get(
        batch.skipped_by, "no step taken"
    )
    cured = ", state put back and clean" if batch.cured else ""
    totals = totals_now(tx.run)
    so_far = texts.bad_batches(totals.nonfinite_batches, totals.batches)
    text = f"epoch {batch.epoch} batch {batch.batch}: {what} not finite, {done}{cured}; {so_far}"
    tx.notify(text, Severity.WARNING)


def _follow_checkpoints(tx: Transaction, new: int, bad: int) -> None:
    needed = tx.policy.rollback.healthy_batches
    proven = False
    for checkpoint in tx.run.checkpoints:
        if checkpoint.generation == tx.run.generation and checkpoint.healthy_after < needed:
            checkpoint.healthy_after = 0 if bad else checkpoint.healthy_after + new
            proven |= checkpoint.healthy_after >= needed
    if proven:
        keep(tx)


def keep(tx: Transaction) -> None:
    """Name the copies worth keeping, where that changed."""
    digests = to_keep(tx.run, tx.policy.rollback)
    if digests and digests != tx.run.kept:
        tx.run.kept = digests
        for checkpoint in tx.run.checkpoints:
            checkpoint.dropped |= checkpoint.digest not in digests
        tx.effects.append(KeepCheckpoints(tx.effect_id(), tx.run.spec.run, digests))


def _calm_down(tx: Transaction) -> None:
    run = tx.run
    if run.suspicion_s is not None and not any(rank.learned.nonfinite.counts for rank in run.ranks.values()):
        run.suspicion_s = None


def _progress(tx: Transaction, incident: Incident, batch: BatchEnded, new: int, bad: int) -> None:
    """Count healthy batches at the new learning rate; end the incident when the exposure is repaid."""
    if bad:
        incident.watch_seen = 0
        return
    incident.samples_left = batch.onset_samples_left
    if batch.ramp is not None and batch.ramp < 1.0:
        return
    incident.watch_seen += new
    _notify_progress(tx, incident)
    samples_met = not (tx.policy.watch.onset_samples and incident.attempts and batch.onset_samples_left)
    if incident.watch_seen >= incident.watch_needed and samples_met:
        _end(tx, incident)


def _notify_progress(tx: Transaction, incident: Incident) -> None:
    quarter = 4 * incident.watch_seen // incident.watch_needed
    if incident.attempts and incident.watch_said < quarter < 4:
        incident.watch_said = quarter
        tx.record(
            incident,
            f"watching: {incident.watch_seen} of {incident.watch_needed} healthy batches at the new learning rate",
        )


def _end(tx: Transaction, incident: Incident) -> None:
    acted = incident.attempts > 0
    rate = "at the new learning rate" if acted else "without any action"
    met = ", with the samples of the first bad batches among them" if acted and incident.samples_left == 0 else ""
    incident.outcome = f"{incident.watch_seen} healthy batches {rate}{met}"
    tx.move(incident, IncidentEvent.PROVEN if acted else IncidentEvent.HEALED)
    tx.run.suspicion_s = None
    tx.record(incident, texts.ended_line(tx.run, incident, tx.now_s))
    name = tx.name
    title = f"{name}: incident {incident.number} {texts.state_text(incident)}"
    tx.alert("resolved", title, "", Severity.INFO, incident)
    keep(tx)
