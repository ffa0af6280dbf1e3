"""Folds what hooks report into the picture of a run. Pure: reads records, changes RunState, asks for nothing."""

from __future__ import annotations

import math

from monitor.core.model import EpochStatus, Position
from monitor.core.state.allocator import take_allocator
from monitor.core.state.hardware import settle_host
from monitor.core.state.intervals import fold_interval
from monitor.core.state.pace import Pace, take_pace
from monitor.core.state.run import EpochRow, LastBatch, Learned, RankState, RunState
from monitor.core.state.signals import Signal, boundary, observe
from monitor.core.state.stats import flag, take_block, take_memory, take_scale
from monitor.core.state.trace import TRACED_RANKS, take_trace
from monitor.core.state.updates import take_update
from trainer_hooks.wire.messages import BatchEnded, Counts, EpochEnded, Nonfinite, SettingChanged

EPOCH_ROWS_MAX = 4000
BATCH_SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
WAIT_SECONDS_BUCKETS = (0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
UNCURED = int(Nonfinite.PARAMETER | Nonfinite.BUFFER)  # a number: a flag is ten times slower to combine
RATE_STEP = 1.5  # a learning rate that jumps by this factor is a restart or a step of its schedule
SIZE_BATCHES = 3  # this many of another size in a row: the batch size changed, it is not the last of an epoch
RESHAPING = ("batch_size", "accumulate", "image_size", "mosaic", "boundary")  # settings after which levels differ
_RUNNING = EpochStatus.RUNNING  # looked up once: every batch asks


def add_counts(a: Counts, b: Counts) -> Counts:
    """Field by field."""
    return Counts(*(getattr(a, name) + getattr(b, name) for name in Counts.__struct_fields__))


def fold_batch(run: RunState, rank: RankState, batch: BatchEnded, now_s: float, window_batches: int) -> int:
    """Take one batch of one rank in. Returns how many non-finite batches are new with it, dropped frames' included.

    A repeated or late record (its count is not above the last one) changes nothing and returns 0.
    """
    missed = batch.counts.batches - rank.counts.batches
    if missed <= 0:
        return 0
    position = Position(run.generation, batch.epoch, batch.batch, batch.counts.batches)
    bad = max(batch.counts.nonfinite_batches - rank.counts.nonfinite_batches, 0)
    if rank.rank == 0:
        _fold_epoch(run, rank.counts, batch, now_s)
        _fold_times(run, batch)
        fold_interval(run, rank, now_s)
    overflows = batch.counts.scaler_overflows - rank.counts.scaler_overflows
    rank.counts = batch.counts
    rank.last_batch_s = now_s
    rank.last = LastBatch(position, batch)
    if rank.rank < TRACED_RANKS:
        take_trace(rank.trace, batch, position, run.phase)
    if bad:
        flag(rank.learned.nonfinite, position, bad, window_batches)
    if batch.nonfinite & UNCURED and not batch.cured:
        rank.learned.uncured += 1
    take_scale(rank.learned.scaler, batch.counts.batches, batch.loss_scale, overflows)
    if not batch.nonfinite:
        _learn(rank.learned, batch)
    return bad


def _learn(learned: Learned, batch: BatchEnded) -> None:
    """Take the signals of a finite batch in."""
    signals = learned.signals
    if not signals:
        signals.update({name: Signal() for name in ("loss", "grad_norm", "batch_s", "wait_share")})
    _follow_settings(learned, batch)
    observe(signals["loss"], batch.loss, may_be_negative=True)
    observe(signals["grad_norm"], batch.grad_norm)
    if learned.renewing and signals["loss"].warm and not signals["loss"].slack:
        _renew(learned)
    if batch.batch_s:
        observe(signals["batch_s"], batch.batch_s)
        take_block(learned.times, signals["batch_s"])
        take_pace(learned.pace, batch, batch.batch_s)
        if batch.data_wait_s is not None:
            observe(signals["wait_share"], batch.data_wait_s / batch.batch_s)
    if batch.memory_reserved is not None or batch.memory_allocated is not None:
        take_memory(learned.memory, batch.counts.batches, batch.memory_reserved, batch.memory_allocated)
        take_allocator(learned.allocator, batch)
    if batch.update_ratio is not None:
        take_update(learned.updates, batch)


def _follow_settings(learned: Learned, batch: BatchEnded) -> None:
    """A jump of the learning rate or a new batch size moves levels for a reason."""
    if batch.learning_rates and batch.learning_rates[0] != learned.rate:
        before, learned.rate = learned.rate, float(batch.learning_rates[0])
        if before > 0.0 and not before / RATE_STEP < learned.rate < before * RATE_STEP:
            boundary(learned.signals["loss"])
            boundary(learned.signals["grad_norm"])
    if batch.batch_size != learned.batch_size:
        learned.size_mismatch_streak += 1
        if learned.batch_size is None or learned.size_mismatch_streak >= SIZE_BATCHES:
            learned.batch_size, learned.size_mismatch_streak = batch.batch_size, 0
            new_shape(learned)
    elif learned.size_mismatch_streak:
        learned.size_mismatch_streak = 0


def new_shape(learned: Learned) -> None:
    """Batches are of another kind from here on: every level may differ."""
    for signal in learned.signals.values():
        boundary(signal)
    learned.renewing = True
    learned.times.seen = learned.memory.seen = learned.memory.line.points = 0
    learned.pace = Pace()


def _renew(learned: Learned) -> None:
    """Batches of the new kind have been learnt: what was best among those of the old one says nothing of them."""
    learned.renewing = False
    for signal in learned.signals.values():
        signal.best, signal.best_seen, signal.drift = signal.slow, signal.seen, 0.0


def fold_setting(run: RunState, event: SettingChanged) -> None:
    """A setting changed while training: what it moves is no trouble, for every rank."""
    if event.name in RESHAPING:
        for rank in run.ranks.values():
            new_shape(rank.learned)


def epoch_row(run: RunState, epoch: int) -> EpochRow | None:
    """The latest pass through `epoch` in the present generation."""
    for row in reversed(run.epochs):
        if row.generation != run.generation:
            return None
        if row.epoch == epoch:
            return row
    return None


def _open_row(run: RunState, batch: BatchEnded, now_s: float) -> EpochRow:
    row = run.epochs[-1] if run.epochs else None
    if (
        row
        and (row.generation, row.epoch) == (run.generation, batch.epoch)
        and row.ended_s is None
        and row.status == _RUNNING
    ):
        return row
    if row and row.status == _RUNNING:
        again = (row.generation, row.epoch) == (run.generation, batch.epoch)
        row.status = EpochStatus.REDONE if again else EpochStatus.ENDED
    started = now_s - (batch.batch_s or 0.0)
    parts = len(batch.parts)
    row = EpochRow(
        run.generation, batch.epoch, batch.batches_per_epoch, started, part_sums=[0.0] * parts, part_counts=[0] * parts
    )
    row.rates_first = batch.learning_rates
    run.epochs.append(row)
    del run.epochs[:-EPOCH_ROWS_MAX]
    return row


def _fold_epoch(run: RunState, before: Counts, batch: BatchEnded, now_s: float) -> None:
    row = _open_row(run, batch, now_s)
    counts = batch.counts
    row.batches += counts.batches - before.batches
    if counts.nonfinite_batches > before.nonfinite_batches:
        row.nonfinite += counts.nonfinite_batches - before.nonfinite_batches
    if counts.skipped_by_guard > before.skipped_by_guard:
        row.skipped_by_guard += counts.skipped_by_guard - before.skipped_by_guard
    if counts.skipped_by_scaler > before.skipped_by_scaler:
        row.skipped_by_scaler += counts.skipped_by_scaler - before.skipped_by_scaler
    if counts.scaler_overflows > before.scaler_overflows:
        row.overflows += counts.scaler_overflows - before.scaler_overflows
    if counts.samples_lost > before.samples_lost:
        row.samples_lost += counts.samples_lost - before.samples_lost
    for i, part in enumerate(batch.parts[: len(row.part_sums)]):
        if math.isfinite(part):
            row.part_sums[i] += part
            row.part_counts[i] += 1
    if batch.loss is not None and math.isfinite(batch.loss):
        row.loss_sum += batch.loss
        row.loss_count += 1
    if batch.grad_norm is not None and math.isfinite(batch.grad_norm):
        row.grad_norm_max = max(row.grad_norm_max or 0.0, batch.grad_norm)
    _fold_memory(row, batch)
    row.rates_last = batch.learning_rates or row.rates_last
    row.momentum_last = batch.momentum if batch.momentum is not None else row.momentum_last


def _fold_memory(row: EpochRow, batch: BatchEnded) -> None:
    if batch.memory_reserved is not None:
        row.reserved_first = batch.memory_reserved if row.reserved_first is None else row.reserved_first
        row.reserved_last = batch.memory_reserved
        if row.reserved_max is None or batch.memory_reserved > row.reserved_max:
            row.reserved_max, row.reserved_max_at = batch.memory_reserved, batch.batch
    if batch.memory_allocated is not None:
        row.allocated_max = max(row.allocated_max or 0, batch.memory_allocated)
    if batch.instances_max is not None and batch.instances_max > (row.instances_max or -1):
        row.instances_max, row.instances_max_at = batch.instances_max, batch.batch


def _fold_times(run: RunState, batch: BatchEnded) -> None:
    totals = run.totals
    if batch.batch_s is not None:
        totals.histogram_batch_s = _bucketed(totals.histogram_batch_s, batch.batch_s, BATCH_SECONDS_BUCKETS)
        totals.sum_batch_s += batch.batch_s
    if batch.data_wait_s is not None:
        totals.histogram_wait_s = _bucketed(totals.histogram_wait_s, batch.data_wait_s, WAIT_SECONDS_BUCKETS)
        totals.sum_wait_s += batch.data_wait_s


def _bucketed(counts: list[int], value: float, bounds: tuple[float, ...]) -> list[int]:
    counts = counts or [0] * (len(bounds) + 1)
    counts[next((i for i, bound in enumerate(bounds) if value <= bound), len(bounds))] += 1
    return counts


def fold_epoch_end(run: RunState, event: EpochEnded, now_s: float) -> None:
    """Close the row of an epoch that is trained and validated (or thrown away by the framework's own recovery)."""
    row = epoch_row(run, event.epoch)
    if row is None:
        return
    row.ended_s, row.seconds, row.metrics, row.fitness = now_s, event.seconds, event.metrics, event.fitness
    row.status = EpochStatus.REDONE if event.redone else EpochStatus.ENDED
    if not any(r.generation == run.generation and r.ended_s is not None for r in run.epochs[-2:-1]):
        _after_first_validation(run)


def _after_first_validation(run: RunState) -> None:
    """It takes more memory than training does, and what the allocator got for it stays: that is the level now."""
    settle_host(run.hardware)
    for rank in run.ranks.values():
        rank.learned.memory.seen = 0


def archive_generation(run: RunState) -> None:
    """The present generation is over: its counts go into the ledger, its ranks are forgotten, its row is closed."""
    for rank in run.ranks.values():
        if rank.rank == 0:
            run.totals.counts = add_counts(run.totals.counts, rank.counts)
    run.ranks = {}
    for row in run.epochs:
        if row.generation == run.generation and row.status == _RUNNING:
            row.status = EpochStatus.LEFT


def totals_now(run: RunState) -> Counts:
    """Counts of the whole run: finished generations and the present one. Rank 0 speaks for the job."""
    leader = run.ranks.get(0)
    return add_counts(run.totals.counts, leader.counts) if leader else run.totals.counts
