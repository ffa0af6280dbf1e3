"""An imported run as the records that a hook would have sent. Pure.

Counts are cumulative from the generation's first row; a row counts as one batch, since a log does not say how many of
the batches between two rows were bad.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from operator import attrgetter

import msgspec

from monitor.recorded.importers.fitness import fitness_of
from monitor.recorded.importers.imported_run import ImportedRun, Row
from trainer_hooks.wire.messages import BatchEnded, Counts, EpochEnded, Nonfinite, SkippedBy, TrainingStarted


class GenerationBegins(msgspec.Struct, frozen=True):
    """From here on the rows belong to another process life."""

    number: int
    started: TrainingStarted


LOSS, GRADIENT = int(Nonfinite.LOSS), int(Nonfinite.GRADIENT)
ImportedRecord = GenerationBegins | BatchEnded | EpochEnded


def records(run: ImportedRun) -> Iterator[tuple[Row, ImportedRecord]]:
    """Every record of the run with the row it stands for. `wall_s` is the row's index: a log's clock is not trusted."""
    per_epoch, epochs = run.extent.batches_per_epoch, run.extent.epochs
    counts, generation = Counts(), 0
    metrics: dict[str, float] = {}
    for row in run.rows:
        if row.generation != generation:
            generation, counts, metrics = row.generation, Counts(), {}
            yield row, GenerationBegins(generation, _started(run, row, epochs, per_epoch))
        counts = _counted(counts, row)
        yield row, _batch(row, counts, per_epoch)
        metrics.update(row.metrics)
        if row.epoch_ends:
            yield row, EpochEnded(float(row.index), row.epoch, row.batch + 1.0, row.parts, metrics, fitness_of(metrics))
            metrics = {}


def _started(run: ImportedRun, row: Row, epochs: int, per_epoch: int) -> TrainingStarted:
    return TrainingStarted(
        wall_s=float(row.index),
        framework=run.kind,
        versions={},
        settings={},
        part_names=run.part_names,
        group_names=run.group_names,
        group_rates=tuple(rate for rate in row.learning_rates if math.isfinite(rate)),
        epochs=epochs,
        start_epoch=row.epoch,
        batches_per_epoch=per_epoch,
        world_size=1,
        ordinal=1,
        save_dir="",
        run_folder="",
        pid=0,
        device="",
        arguments_digest="",
        guarded=False,  # nothing guarded the run that wrote this log
        scaler_enabled=row.loss_scale is not None,
    )


def _counted(counts: Counts, row: Row) -> Counts:
    """The totals after a row."""
    if not row.nonfinite:
        return Counts(counts.batches + 1, counts.steps + 1, *_rest(counts))
    bits = 0 if row.overflow else row.nonfinite
    return Counts(
        batches=counts.batches + 1,
        steps=counts.steps + 1,
        nonfinite_batches=counts.nonfinite_batches + (bits != 0),
        nonfinite_loss=counts.nonfinite_loss + bool(bits & LOSS),
        nonfinite_gradient=counts.nonfinite_gradient + bool(bits & GRADIENT),
        skipped_by_scaler=counts.skipped_by_scaler + row.overflow,
        scaler_overflows=counts.scaler_overflows + row.overflow,
    )


_rest = attrgetter(*Counts.__struct_fields__[2:])


def _batch(row: Row, counts: Counts, per_epoch: int) -> BatchEnded:
    at_s = float(row.index)
    return BatchEnded(  # the first ones by place, in the order of its fields: twice as fast
        at_s, at_s, row.epoch, row.batch, per_epoch, counts, row.loss, row.parts, row.grad_norm, row.nonfinite,
        skipped_by=SkippedBy.SCALER.value if row.overflow else "",
        learning_rates=row.learning_rates,
        loss_scale=row.loss_scale,
        memory_reserved=row.memory_bytes,
        batch_s=row.batch_s,
        data_wait_s=row.data_wait_s,
    )  # fmt: skip
