"""What the policy does at a batch: keeps proven checkpoints, ends an incident after enough healthy batches. Pure."""

from __future__ import annotations

from monitor.core.format import batch_at, count, listed, plural
from monitor.core.model import Family, Incident, IncidentState, KeepCheckpoints, Severity, Verdict
from monitor.core.policy import texts
from monitor.core.policy.diagnosing import diagnosed_again
from monitor.core.policy.incidents import end, examine, look_again
from monitor.core.policy.return_proof import compare_first_losses
from monitor.core.policy.settings import Policy
from monitor.core.policy.transaction import Transaction
from monitor.core.policy.trust import plausible_ones, to_keep
from monitor.core.state.checkpoints import healthy_after
from monitor.core.state.epochs import totals_of
from monitor.core.state.levels import loss_is_off
from monitor.core.state.rows import CheckpointState
from monitor.core.state.run import RankState, TrainingState
from monitor.core.state.stats import within
from trainer_hooks.wire.messages import BatchEnded, Counts, Nonfinite, SkippedBy

STEPS = {
    str(SkippedBy.GUARD): "step skipped",
    str(SkippedBy.SCALER): "step skipped by the scaler",
    str(SkippedBy.SCRIPT): "step skipped by the script",
}
LISTED_BATCHES = 12  # bad batches of a generation with a line each; then one at every doubling


def on_batch(tx: Transaction, batch: BatchEnded, *, new: int, bad: int) -> None:
    """One batch of rank 0: `new` batches since the last record, `bad` of them not finite."""
    if bad:
        _suspect(tx, batch)
    _follow_checkpoints(tx, new)
    incident = tx.training.incident
    if incident is None:
        _calm_down(tx)
        return
    compare_first_losses(tx, incident)
    diagnosed_again(tx, incident)
    look_again(tx, incident, bad=bad > 0, count=batch.counts.batches)
    if incident.state in (IncidentState.WATCHING, IncidentState.RELAPSED):
        _progress(tx, incident, batch, new, bad)


def is_quiet(training: TrainingState, policy: Policy, count: int, new: int) -> bool:
    """True where `on_batch` has nothing to do about finite batch `count` of rank 0, `new` after the record before."""
    ledger, checkpoints = training.ledger, training.checkpoints
    if ledger.incident is not None or ledger.suspicion_s is not None:
        return False
    if not checkpoints:
        return True
    newest, needed = checkpoints[-1], policy.rollback.healthy_batches + new
    if count - newest.count >= needed and count - training.last_bad >= needed:
        return True  # it was proven before; the rest is for the few hundred batches after a save
    return not _may_be_proven(training, newest, needed)


def _may_be_proven(training: TrainingState, checkpoint: CheckpointState, needed: int) -> bool:
    """True until a checkpoint of this generation was proven by the batches before the last record."""
    return checkpoint.generation == training.generation and healthy_after(training, checkpoint) < needed


def _suspect(tx: Transaction, batch: BatchEnded) -> None:
    """Write a line, and have the checkpoints to go back to examined now: a rule that fires later need not wait.

    They are the newest clean one, and the newest sound one: that is as good where one event did the damage.
    """
    _notify_bad(tx, batch)
    if tx.ledger.suspicion_s is None:
        tx.ledger.suspicion_s = tx.now_s
        newest_sound = [c for c in tx.training.checkpoints if c.verdict is Verdict.SOUND and not c.abandoned][-1:]
        for checkpoint in [*plausible_ones(tx.training, tx.policy.rollback, None)[:1], *newest_sound]:
            examine(tx, checkpoint)


def _notify_bad(tx: Transaction, batch: BatchEnded) -> None:
    seen = batch.counts.nonfinite_batches
    if seen > LISTED_BATCHES and seen & (seen - 1):
        return
    kinds = [k.name.lower() for k in Nonfinite if batch.nonfinite & k and k.name]
    what = listed(kinds) or "a batch between two records"
    done = STEPS.get(batch.skipped_by) or _step_seen(tx.training, batch)
    cured = ", state put back and clean" if batch.cured else ""
    totals = totals_of(tx.training)
    so_far = texts.bad_batches(totals.nonfinite_batches, totals.batches)
    text = f"{batch_at(batch.epoch, batch.batch)}: {what} not finite, {done}{cured}; {so_far}"
    tx.notify(text, Severity.WARNING, Family.NONFINITE)


def _step_seen(training: TrainingState, batch: BatchEnded) -> str:
    """By the totals: a step may also be taken by a way that the hook does not see, and then is not spoken of."""
    last = [each.counts for each in training.ranks[0].trace.recent[-2:]]
    before = last[0] if len(last) > 1 else Counts()
    if batch.counts.batches - before.batches != 1:
        return "whether its step was taken is not known"
    return "step taken" if batch.counts.steps > before.steps else "no step seen"


def _follow_checkpoints(tx: Transaction, new: int) -> None:
    """When enough healthy batches have followed a checkpoint, decide anew which copies are kept."""
    needed = tx.policy.rollback.healthy_batches
    for checkpoint in reversed(tx.training.checkpoints):
        if not _may_be_proven(tx.training, checkpoint, needed + new):
            return  # so are all before it
        if healthy_after(tx.training, checkpoint) >= needed:
            keep(tx)
            return


def keep(tx: Transaction) -> None:
    """Send the list of the copies to keep, if it changed: with every copy that another training of the run keeps."""
    digests = to_keep(tx.training, tx.policy.rollback, tx.policy.snapshots.keep)
    if digests and digests != tx.ledger.copies.kept:
        tx.ledger.copies.kept = digests
        gone = [c.digest for c in tx.training.checkpoints if c.digest not in digests]
        tx.ledger.copies.dropped = dict.fromkeys(gone, 1)
        others = [each for each in tx.run.trainings.values() if each is not tx.training]
        theirs = [c.digest for each in others for c in each.checkpoints if not each.dropped(c)]
        everything = tuple(dict.fromkeys([*digests, *theirs]))
        tx.effects.append(KeepCheckpoints(tx.effect_id(), tx.run.spec.run, everything))


def _calm_down(tx: Transaction) -> None:
    if tx.ledger.suspicion_s is not None and not any(_bad_lately(tx, rank) for rank in tx.training.ranks.values()):
        tx.ledger.suspicion_s = None


def _bad_lately(tx: Transaction, rank: RankState) -> bool:
    """True where a rule may still count a non-finite batch of the rank."""
    window = tx.policy.detectors.nonfinite_history_batches()
    since = rank.counts.batches - max(tx.ledger.answered.get(rank.rank, 0), 0)
    return within(rank.learned.nonfinite, rank.counts.batches, min(window, since)) > 0


def _progress(tx: Transaction, incident: Incident, batch: BatchEnded, new: int, bad: int) -> None:
    """Count healthy batches at the new learning rate; end the incident when there are enough.

    A batch is healthy where it is finite and the losses are at their level.
    """
    if bad or any(loss_is_off(rank.learned) for rank in tx.training.ranks.values()):
        incident.watch.seen = incident.watch.notified = 0
        return
    incident.watch.samples_left = batch.onset_samples_left
    if batch.ramp is not None and batch.ramp < 1.0:
        return
    incident.watch.seen += new
    _notify_progress(tx, incident)
    samples_met = not (tx.policy.watch.onset_samples and incident.totals.attempts and batch.onset_samples_left)
    if incident.watch.seen >= incident.watch.needed and samples_met:
        _end(tx, incident)


def _notify_progress(tx: Transaction, incident: Incident) -> None:
    quarter = 4 * incident.watch.seen // incident.watch.needed
    if incident.acted_on and incident.watch.notified < quarter < 4:
        incident.watch.notified = quarter
        tx.record(
            incident,
            f"watching: {count(incident.watch.seen)} of {plural(incident.watch.needed, 'healthy batch')} "
            f"{texts.since_when(incident)}",
        )


def _end(tx: Transaction, incident: Incident) -> None:
    no_bad_batch = incident.family in (Family.CRASH, Family.HANG)
    all_met = incident.acted_on and incident.watch.samples_left == 0 and not no_bad_batch
    met = ", with the samples of the first bad batches among them" if all_met else ""
    end(tx, incident, f"{plural(incident.watch.seen, 'healthy batch')} {texts.since_when(incident)}{met}")
    keep(tx)
