"""The histograms of a run, and the timings of the daemon that one of them shows. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate

import msgspec

from monitor.core.state.batches import BATCH_SECONDS_BUCKETS, WAIT_SECONDS_BUCKETS
from monitor.core.state.run import RunState

DETECT_SECONDS_BUCKETS = (0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.005, 0.01, 0.1)
Counted = tuple[list[int], float]  # counts by bucket, and the sum of the values; no counts: nothing is known


class Timings:
    """How long the core took for each input, by run."""

    def __init__(self) -> None:
        self._buckets: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def add(self, run: str, seconds: float) -> None:
        if run:
            buckets = self._buckets.setdefault(run, [0] * (len(DETECT_SECONDS_BUCKETS) + 1))
            place = next(
                (i for i, top in enumerate(DETECT_SECONDS_BUCKETS) if seconds <= top), len(DETECT_SECONDS_BUCKETS)
            )
            buckets[place] += 1
            self._sums[run] = self._sums.get(run, 0.0) + seconds

    def of(self, run: str) -> Counted:
        return self._buckets.get(run, []), self._sums.get(run, 0.0)

    def keep(self, runs: Iterable[str]) -> None:
        """Forget every other run."""
        kept = set(runs)
        for run in set(self._buckets) - kept:
            del self._buckets[run], self._sums[run]


class Histogram(msgspec.Struct, frozen=True):
    """One histogram: its name without the prefix, its help, the upper bounds of its buckets, and how it is read."""

    name: str
    help: str
    tops: tuple[float, ...]
    read: Callable[[RunState, Timings], Counted]

    def buckets(self, counts: list[int]) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus wants them."""
        tops = (*map(str, self.tops), "+Inf")
        return [(top, float(count)) for top, count in zip(tops, accumulate(counts), strict=True)]


def _summed(histograms: Iterable[Counted]) -> Counted:
    """Over the trainings of a run."""
    known = [(counts, total_s) for counts, total_s in histograms if counts]
    return [sum(column) for column in zip(*(counts for counts, _ in known), strict=True)], sum(s for _, s in known)


HISTOGRAMS = (
    Histogram(
        "batch_seconds", "From the end of a batch to the end of the next, rank 0.", BATCH_SECONDS_BUCKETS,
        lambda run, _: _summed((t.totals.histogram_batch_s, t.totals.sum_batch_s) for t in run.trainings.values()),
    ),
    Histogram(
        "data_wait_seconds", "Part of a batch that waited for the data loader, rank 0.", WAIT_SECONDS_BUCKETS,
        lambda run, _: _summed((t.totals.histogram_wait_s, t.totals.sum_wait_s) for t in run.trainings.values()),
    ),
    Histogram(
        "detect_seconds", "From an input to the core's answer, since the daemon started.", DETECT_SECONDS_BUCKETS,
        lambda run, timings: timings.of(run.spec.run),
    ),
)  # fmt: skip
