"""Rows of epochs and the totals of a training. Pure: changes TrainingState."""

from __future__ import annotations

from math import isfinite

from monitor.core.model import EpochStatus
from monitor.core.state.rows import EpochRow
from monitor.core.state.run import RunState, TrainingState
from trainer_hooks.wire.messages import BatchEnded, Counts, EpochEnded

EPOCH_ROWS_MAX = 4000
_RUNNING = EpochStatus.RUNNING  # looked up once: every batch asks


def add_counts(a: Counts, b: Counts) -> Counts:
    """Field by field."""
    return Counts(*(getattr(a, name) + getattr(b, name) for name in Counts.__struct_fields__))


def epoch_row(training: TrainingState, epoch: int) -> EpochRow | None:
    """The latest pass through `epoch` in the present generation."""
    for row in reversed(training.epochs):
        if row.generation != training.generation:
            return None
        if row.epoch == epoch:
            return row
    return None


def _open_row(training: TrainingState, batch: BatchEnded, now_s: float) -> EpochRow:
    row = training.epochs[-1] if training.epochs else None
    same = row is not None and (row.generation, row.epoch) == (training.generation, batch.epoch)
    given_up = row is not None and row.status == EpochStatus.DISCARDED
    if row and same and not given_up and (_is_open(row) or batch.batch >= row.batches):
        return row  # a batch that comes after the end of its epoch: events of a trainer may overtake its batches
    if row and row.status == _RUNNING:
        row.status = EpochStatus.REDONE if same else EpochStatus.ENDED
    started = now_s - (batch.batch_s or 0.0)
    row = EpochRow(training.generation, batch.epoch, batch.batches_per_epoch, started)
    row.part_sums, row.part_counts = [0.0] * len(batch.parts), [0] * len(batch.parts)
    row.rates_first = batch.learning_rates
    training.epochs.append(row)
    del training.epochs[:-EPOCH_ROWS_MAX]
    return row


def fold_epoch(training: TrainingState, before: Counts, batch: BatchEnded, now_s: float) -> None:
    """Add one batch of rank 0 to the row of its epoch; `before` are the counts before it."""
    rows, counts = training.epochs, batch.counts
    row = rows[-1] if rows else None
    if row is None or row.epoch != batch.epoch or row.generation != training.generation or not _is_open(row):
        row = _open_row(training, batch, now_s)
    row.batches += counts.batches - before.batches
    if counts.nonfinite_batches > before.nonfinite_batches:
        row.nonfinite += counts.nonfinite_batches - before.nonfinite_batches
    if counts.skipped_by_guard > before.skipped_by_guard:
        row.skipped_by_guard += counts.skipped_by_guard - before.skipped_by_guard
    if counts.skipped_by_scaler > before.skipped_by_scaler:
        row.skipped_by_scaler += counts.skipped_by_scaler - before.skipped_by_scaler
    if counts.skipped_by_script > before.skipped_by_script:
        row.skipped_by_script += counts.skipped_by_script - before.skipped_by_script
    if counts.scaler_overflows > before.scaler_overflows:
        row.overflows += counts.scaler_overflows - before.scaler_overflows
    if counts.samples_lost > before.samples_lost:
        row.samples_lost += counts.samples_lost - before.samples_lost
    _fold_losses(row, batch)
    if batch.memory_reserved is not None or batch.memory_allocated is not None or batch.instances_max is not None:
        _fold_memory(row, batch)
    if batch.learning_rates:
        row.rates_last = batch.learning_rates
    if batch.momentum is not None:
        row.momentum_last = batch.momentum


def _is_open(row: EpochRow) -> bool:
    return row.ended_s is None and row.status == _RUNNING


def _fold_losses(row: EpochRow, batch: BatchEnded) -> None:
    loss, norm, parts = batch.loss, batch.grad_norm, batch.parts
    if parts:
        sums, counts = row.part_sums, row.part_counts
        for i, part in enumerate(parts[: len(sums)]):
            if isfinite(part):
                sums[i] += part
                counts[i] += 1
    if loss is not None and isfinite(loss):
        row.loss_sum += loss
        row.loss_count += 1
    if norm is not None and isfinite(norm):
        most = row.grad_norm_max or 0.0
        if row.grad_norm_max is None or norm > most:
            row.grad_norm_max = max(most, norm)


def _fold_memory(row: EpochRow, batch: BatchEnded) -> None:
    if batch.memory_reserved is not None:
        row.reserved_first = batch.memory_reserved if row.reserved_first is None else row.reserved_first
        if row.reserved_max is None or batch.memory_reserved > row.reserved_max:
            row.reserved_max, row.reserved_max_at = batch.memory_reserved, batch.batch
    if batch.memory_allocated is not None:
        row.allocated_max = max(row.allocated_max or 0, batch.memory_allocated)
    if batch.instances_max is not None and batch.instances_max > (row.instances_max or -1):
        row.instances_max, row.instances_max_at = batch.instances_max, batch.batch


def fold_epoch_end(training: TrainingState, event: EpochEnded, now_s: float) -> bool:
    """Close the row of an epoch that is trained and validated (or thrown away by the framework's own recovery).

    Returns True after the first validation of a generation.
    """
    row = epoch_row(training, event.epoch)
    if row is None:
        return False
    row.ended_s, row.seconds, row.metrics, row.fitness = now_s, event.seconds, event.metrics, event.fitness
    row.status = EpochStatus.REDONE if event.redone else EpochStatus.ENDED
    if not any(r.generation == training.generation and r.ended_s is not None for r in training.epochs[-2:-1]):
        _after_first_validation(training)
        return True
    return False


def _after_first_validation(training: TrainingState) -> None:
    """Validation takes more memory than training, and the allocator keeps it: learn the level anew."""
    for rank in training.ranks.values():
        rank.learned.memory.seen = 0


def totals_of(training: TrainingState) -> Counts:
    """Counts of the whole training: finished generations and the present one. Rank 0 speaks for the job."""
    leader, totals = training.ranks.get(0), training.totals.counts
    if leader is None:
        return totals
    held = training.taken[0].counts if 0 in training.taken else Counts()
    names = Counts.__struct_fields__
    return Counts(*(getattr(totals, name) + getattr(leader.counts, name) - getattr(held, name) for name in names))


def batches_unseen(run: RunState) -> int:
    """Batches of all trainings that were counted by their process, and of which no record arrived."""
    return sum(training.totals.batches_unseen for training in run.trainings.values())


def totals_of_run(run: RunState) -> Counts:
    """The sums over every training of the run."""
    totals = Counts()
    for training in run.trainings.values():
        totals = add_counts(totals, totals_of(training))
    return totals
