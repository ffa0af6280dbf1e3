"""How much single optimizer steps changed the weights, as the hooks sample it. Pure."""

from __future__ import annotations

import math

import msgspec

from trainer_hooks.wire.messages import BatchEnded

KEPT = 16  # samples; the hooks take one every few hundred steps


class UpdateSample(msgspec.Struct, frozen=True):
    """One step. `ratio`: norm of the change by norm of the weights, of the tensors that are sampled."""

    count: int  # Counts.batches
    ratio: float
    rate: float  # the highest learning rate of any group


class Updates(msgspec.Struct):
    """The last of them, oldest first."""

    samples: list[UpdateSample] = []
    highest_rate: float = 0.0  # ever used


def take_update(updates: Updates, batch: BatchEnded) -> None:
    """Keep a sample, where the batch has one. A non-finite one is ignored: other detectors find it."""
    ratio = batch.update_ratio
    if ratio is None or not math.isfinite(ratio):
        return
    rate = float(max(batch.learning_rates, default=0.0))
    updates.highest_rate = max(updates.highest_rate, rate)
    updates.samples.append(UpdateSample(batch.counts.batches, float(ratio), rate))
    del updates.samples[:-KEPT]
