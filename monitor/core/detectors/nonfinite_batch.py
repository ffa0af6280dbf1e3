"""The first batch that is not finite."""

from __future__ import annotations

from monitor.core.detectors import DetectorConfig, register
from monitor.core.format import listed
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.view import RunView
from trainer_hooks.wire.messages import Nonfinite


class NonfiniteBatchConfig(DetectorConfig):
    """The first batch with NaN or infinity of a generation, on each rank; only noted where the guard undid it."""


@register("nonfinite_batch", NonfiniteBatchConfig, Family.NONFINITE, at_most=Severity.WARNING)
def nonfinite_batch(run: RunView, config: NonfiniteBatchConfig) -> Finding | None:
    """A warning at the first non-finite batch of a generation, on each rank: a healthy training has none.

    It only informs where the guard restored everything: that batch lost nothing. Silent on those that follow, which
    nonfinite_burst and nonfinite_rate judge. A scaler's overflow is none.
    """
    new, total = run.nonfinite_within(1), run.batch.counts.nonfinite_batches if run.batch else 0
    if not 0 < total <= new:
        return None
    kinds = listed([kind.name.lower() for kind in Nonfinite if run.nonfinite & kind and kind.name])
    skipped = run.batch is not None and run.batch.skipped_by
    again = f" in generation {run.at.generation}" if run.at.generation > 1 else ""
    return run.finding(
        Severity.INFO if run.cured else Severity.WARNING,
        since=run.at,
        signal="nonfinite_batches",
        value=float(total),
        limit=0.0,
        summary=f"{kinds or 'a batch'} not finite for the first time{again}"
        + (f"; the step was skipped by the {skipped}" if skipped else ""),
    )
