"""New batches as columns, which a chart appends as they are. Pure."""

from __future__ import annotations

import msgspec

from monitor.history.samples import values
from monitor.history.transaction_rows import Sample


class BatchColumns(msgspec.Struct, frozen=True):
    """New batches of one rank, in the order in which they came; every column has one value a batch.

    `signals` has the names of the curves; null: the batch has no finite value of it. A bad batch has 1 in "nonfinite".
    """

    key: str  # the run, and "#n" behind it for its training n from the second on
    rank: int
    generation: list[int]
    count: list[int]  # batches since the generation began, from 1: the x of a chart
    epoch: list[int]
    batch: list[int]
    at_s: list[float]
    signals: dict[str, list[float | None]]
    skipped: int = 0  # batches before these that came too fast to be passed on; the chart's route has them


def columns_of(samples: list[Sample], skipped: int) -> BatchColumns:
    """At least one batch, of one rank."""
    signals: dict[str, list[float | None]] = {}
    for i, sample in enumerate(samples):
        for name, value in values(sample):
            signals.setdefault(name, [None] * len(samples))[i] = value
    return BatchColumns(
        key=samples[0].run,
        rank=samples[0].rank,
        generation=[sample.generation for sample in samples],
        count=[sample.count for sample in samples],
        epoch=[sample.epoch for sample in samples],
        batch=[sample.batch for sample in samples],
        at_s=[sample.at_s for sample in samples],
        signals=signals,
        skipped=skipped,
    )
