"""Folds a batch of one rank into the state. Pure: O(1) for a batch."""

from __future__ import annotations

from bisect import bisect_left
from math import isfinite

from monitor.core.model import Position
from monitor.core.state import setting_jumps
from monitor.core.state.allocator import take_allocator
from monitor.core.state.anomalies import follow
from monitor.core.state.epochs import fold_epoch
from monitor.core.state.first_losses import EVERY as STATES_EVERY
from monitor.core.state.first_losses import keep_following, take_first
from monitor.core.state.intervals import fold_interval
from monitor.core.state.learned import Learned
from monitor.core.state.levels import begin_anew, take_loss
from monitor.core.state.loss_level import EVERY, follow_level, gate
from monitor.core.state.pace import Pace, take_pace
from monitor.core.state.rate_steps import REASON_BATCHES, closer_batches, fold_reason, take_rate
from monitor.core.state.run import LastBatch, RankState, Totals, TrainingState
from monitor.core.state.signals import RING, Signal, boundary, observe
from monitor.core.state.stats import flag, take_block, take_memory, take_scale
from monitor.core.state.trace import TRACED_RANKS, take_trace
from monitor.core.state.updates import take_update
from trainer_hooks.wire.messages import BatchEnded, Counts, Nonfinite, SettingChanged

BATCH_SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
WAIT_SECONDS_BUCKETS = (0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
UNCURED = int(Nonfinite.PARAMETER | Nonfinite.BUFFER)  # a number: a flag is ten times slower to combine
BAD_NORMS_MAX = 64  # as many as a rule may ask for
OFTEN = 3  # unexplained changes of one setting in a generation: it changes all the time
SIZE_BATCHES = 3  # this many of another size in a row: the batch size changed, it is not the last of an epoch
RESHAPING = ("batch_size", "accumulate", "image_size", "mosaic", "boundary")  # settings after which levels differ


def fold_batch(training: TrainingState, rank: RankState, batch: BatchEnded, now_s: float) -> int:
    """Take one batch of a rank in. Returns how many non-finite batches are new, those of lost records included.

    A repeated or late record (its count is not above the last one) changes nothing and returns 0.
    """
    counts, before = batch.counts, rank.counts
    if counts.batches <= before.batches:
        return 0
    position = Position(training.generation, batch.epoch, batch.batch, counts.batches)
    bad = counts.nonfinite_batches - before.nonfinite_batches
    bad = max(bad, 0)
    if rank.rank == 0:
        fold_epoch(training, before, batch, now_s)
        if batch.batch_s is not None or batch.data_wait_s is not None:
            _fold_times(training.totals, batch.batch_s, batch.data_wait_s)
        fold_interval(training, rank, now_s)
        if training.first_losses is not None:
            take_first(training, batch)
        if not counts.batches % STATES_EVERY:
            keep_following(training)
    overflows = counts.scaler_overflows - before.scaler_overflows
    rank.counts, rank.last_batch_s = counts, now_s
    rank.last = LastBatch(position, batch)
    if rank.rank < TRACED_RANKS:
        take_trace(rank.trace, batch, position, training.phase)
    if bad:
        rank.unskipped += _unskipped(counts, before, bad)
        flag(rank.learned.nonfinite, position, bad)
    if batch.nonfinite & UNCURED and not batch.cured:
        rank.learned.uncured += 1
    if overflows > 0 or batch.loss_scale is not None:
        take_scale(rank.learned.scaler, counts.batches, batch.loss_scale, overflows)
    if batch.grad_norm is not None and not isfinite(batch.grad_norm):
        _fold_bad_norm(training, rank.learned, batch, overflow=overflows > 0)
    if not batch.nonfinite:
        _learn(rank.learned, batch, position)
        if training.anomalies.standing:
            follow(training, rank, position)
    return bad


def _unskipped(now: Counts, before: Counts, bad: int) -> int:
    """How many of the new non-finite batches ended with a step that was taken.

    With accumulation a bad batch may end without one; what the step at the end does to the weights is seen there.
    """
    by_script = now.skipped_by_script - before.skipped_by_script
    by_scaler = now.skipped_by_scaler - before.skipped_by_scaler
    of_others = now.scaler_overflows - before.scaler_overflows  # skipped by the scaler, and no non-finite batches
    taken = now.steps - before.steps - by_script - by_scaler - (now.skipped_by_guard - before.skipped_by_guard)
    return max(min(bad - by_script - max(by_scaler - of_others, 0), taken), 0)


def _fold_bad_norm(training: TrainingState, learned: Learned, batch: BatchEnded, *, overflow: bool) -> None:
    """A scaler's overflow is how it finds its scale; a NaN norm beside a NaN loss says nothing of its own."""
    searching = overflow and training.started is not None and training.started.scaler_enabled
    if batch.loss is not None and isfinite(batch.loss) and not searching:
        learned.bad_norms.append(batch.counts.batches)
        del learned.bad_norms[:-BAD_NORMS_MAX]


def _learn(learned: Learned, batch: BatchEnded, position: Position) -> None:
    """Take the signals of a finite batch in."""
    signals = learned.signals
    if not signals:
        signals.update({name: Signal() for name in ("loss", "grad_norm", "batch_s", "wait_share")})
    _follow_settings(learned, batch)
    observe(signals["loss"], batch.loss, may_be_negative=True)
    observe(signals["grad_norm"], batch.grad_norm)
    if batch.loss is not None:
        loss, level = signals["loss"], learned.loss_level
        take_loss(learned.loss_blocks, loss, position)
        if loss.scaled > level.edge or level.busy or not loss.seen % EVERY:  # a call each time costs a twentieth
            follow_level(level, loss)
        if learned.jump is not None:
            setting_jumps.follow(learned, closer_batches(batch.batches_per_epoch))
    if (step := learned.rate_step) is not None and position.count - step.count >= REASON_BATCHES:
        learned.rate_step = None
    if learned.unexplained and not signals["loss"].closer:
        learned.unexplained = False
    if learned.renewing and signals["loss"].warm and not signals["loss"].slack:
        _renew(learned)
    if seconds := batch.batch_s:
        times = signals["batch_s"]
        observe(times, seconds)
        if not times.seen % RING:
            take_block(learned.times, times)
        take_pace(learned.pace, batch, seconds)
        if batch.data_wait_s is not None:
            observe(signals["wait_share"], batch.data_wait_s / seconds)
    if batch.memory_reserved is not None or batch.memory_allocated is not None:
        take_memory(learned.memory, batch.counts.batches, batch.memory_reserved, batch.memory_allocated)
        take_allocator(learned.allocator, batch)
    if batch.update_ratio is not None:
        take_update(learned.updates, batch)


def _follow_settings(learned: Learned, batch: BatchEnded) -> None:
    """A jump of the learning rate or a new batch size moves levels for a reason."""
    if batch.learning_rates and batch.learning_rates[0] != learned.rate:
        take_rate(learned, float(batch.learning_rates[0]), batch)
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
    begin_anew(learned.loss_blocks)
    setting_jumps.forget(learned)
    if learned.signals:
        gate(learned.loss_level, learned.signals["loss"])
    learned.renewing = True
    learned.times.seen = learned.memory.seen = learned.memory.line.points = 0
    learned.pace = Pace()


def _renew(learned: Learned) -> None:
    """Batches of the new kind have been learnt: the best of the old kind does not compare with them."""
    learned.renewing = False
    for signal in learned.signals.values():
        signal.best, signal.best_seen, signal.drift = signal.slow, signal.seen, 0.0


def fold_setting(training: TrainingState, event: SettingChanged) -> None:
    """A setting changed while training: levels may move for a reason, on every rank."""
    for rank in training.ranks.values():
        if event.name in RESHAPING:
            new_shape(rank.learned)
        elif rank.last is not None and not _comes_often(training, event):
            fold_reason(rank.learned, rank.last.batch, rank.last.position, event)


def _comes_often(training: TrainingState, event: SettingChanged) -> bool:
    """True where the training has a schedule of its own that nobody declared."""
    earlier = [c for g, c in training.settings_log if g == training.generation and c.name == event.name]
    return not event.reason and sum(not change.reason for change in earlier) >= OFTEN


def _fold_times(totals: Totals, batch_s: float | None, data_wait_s: float | None) -> None:
    if batch_s is not None:
        totals.histogram_batch_s = _bucketed(totals.histogram_batch_s, batch_s, BATCH_SECONDS_BUCKETS)
        totals.sum_batch_s += batch_s
    if data_wait_s is not None:
        totals.histogram_wait_s = _bucketed(totals.histogram_wait_s, data_wait_s, WAIT_SECONDS_BUCKETS)
        totals.sum_wait_s += data_wait_s


def _bucketed(counts: list[int], value: float, bounds: tuple[float, ...]) -> list[int]:
    counts = counts or [0] * (len(bounds) + 1)
    counts[len(bounds) if value != value else bisect_left(bounds, value)] += 1  # noqa: PLR0124 - NaN: the last one
    return counts
