"""What one batch gives a detector to look at, as bits: what it carries, and what of its signals is out of the usual.

A detector names the bits that it needs, and is asked only where all of them are set. Nearly every batch of a healthy
training sets none that a detector waits for, so nothing is asked. The detectors check everything themselves as well: a
bit may be set too often, but never too seldom. Pure.
"""

from __future__ import annotations

import math

from monitor.core.state.learned import Learned
from monitor.core.state.signals import Signal
from trainer_hooks.wire.messages import BatchEnded

NORM, TIME, MEMORY, SCALE, UPDATE = 1, 2, 4, 8, 16  # what a batch may carry beside its loss
LOSS_HIGH = 1 << 5  # its last sample is flagged, or its short mean is out of the noise
LOSS_LOW = 1 << 6  # its last sample lies below its level by LOW_RATIO
LOSS_RISEN = 1 << 7  # its fast mean lies RISEN_SPREADS above its best
NORM_HIGH = 1 << 8  # its last sample is flagged, or its CUSUM has passed CLIMB_DRIFT
NORM_LOW = 1 << 9  # its last sample lies below its level by LOW_RATIO
EVERY_64 = 1 << 10  # the rank's count of batches is a multiple of 64
LOSSES_64 = 1 << 11  # so is the number of its losses
TIMES_16 = 1 << 12  # the number of its batch times is a multiple of 16
WAITS_32 = 1 << 13  # the number of its waits for data is one of 32
MEMORY_64 = 1 << 14  # the number of its memory readings is one of 64
MEMORY_OVER = 1 << 15  # reserved memory lies above its level
RETRIED = 1 << 16  # the allocator has just tried again
BLOCK_ENDED = 1 << 17  # a block of batch times has ended, or the first one of an epoch has not
LOSS_ABOVE = 1 << 18  # several of the last few losses lie above those before
LOSS_FAR = 1 << 19  # the last one lies above them by FAR
LOSS_FIRST = 1 << 20  # it is one of the first, or the level has risen from its lowest by FAR
NORM_BAD = 1 << 21  # the gradient norm is not finite
SETTING_JUMPED = 1 << 22  # for no known reason, and the loss has not been at its level for long since
NORM_FAR = 1 << 23  # the gradient norm lies above its fast mean by FAR, or has no such mean yet
EVERYTHING = (1 << 24) - 1
FAR = math.log(3.0)
FIRST_LOSSES = 40
LOW_RATIO = 2.0
LOW = math.log(LOW_RATIO)
RISEN_SPREADS = 2.0
CLIMB_DRIFT = 150.0  # in spreads: it has risen for dozens of steps


def occasions(learned: Learned, batch: BatchEnded) -> int:
    """The bits of a batch that has just been folded in."""
    found = 0 if batch.counts.batches % 64 else EVERY_64
    if signals := learned.signals:
        found |= _of_values(signals["loss"], signals["grad_norm"] if batch.grad_norm is not None else None)
        found |= learned.loss_level.occasions
        if learned.jump is not None:
            found |= SETTING_JUMPED
    elif batch.grad_norm is not None:
        found |= NORM
    if learned.bad_norms and learned.bad_norms[-1] == batch.counts.batches:
        found |= NORM_BAD
    if batch.batch_s is not None:
        found |= _of_times(learned, signals)
    if batch.memory_reserved is not None or batch.memory_allocated is not None:
        found |= _of_memory(learned, batch)
    if batch.loss_scale is not None:
        found |= SCALE
    return found if batch.update_ratio is None else found | UPDATE


def _of_values(loss: Signal, norm: Signal | None) -> int:
    found = 0 if loss.seen % 64 else LOSSES_64
    if loss.recent & 1 or loss.short_mean_high:
        found |= LOSS_HIGH
    if loss.scaled <= loss.level - LOW:
        found |= LOSS_LOW
    if loss.fast - loss.best >= RISEN_SPREADS * loss.spread:
        found |= LOSS_RISEN
    if norm is not None:
        found |= NORM
        if norm.recent & 1 or norm.drift >= CLIMB_DRIFT:
            found |= NORM_HIGH
        if norm.scaled <= norm.level - LOW:
            found |= NORM_LOW
        if norm.scaled > norm.fast + FAR or not norm.warm:
            found |= NORM_FAR
    return found


def _of_times(learned: Learned, signals: dict[str, Signal]) -> int:
    found, pace = TIME, learned.pace
    if (took := signals.get("batch_s")) is not None and not took.seen % 16:
        found |= TIMES_16
    if (waits := signals.get("wait_share")) is not None and waits.seen and not waits.seen % 32:
        found |= WAITS_32
    return found if pace.block and pace.epoch_blocks else found | BLOCK_ENDED


def _of_memory(learned: Learned, batch: BatchEnded) -> int:
    memory, allocator = learned.memory, learned.allocator
    found = MEMORY if memory.seen % 64 and allocator.seen % 64 else MEMORY | MEMORY_64
    if memory.over:
        found |= MEMORY_OVER
    retries = allocator.retries
    return found | RETRIED if retries and retries[-1] == batch.counts.batches else found
