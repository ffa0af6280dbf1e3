"""The state of every run as Prometheus metrics. Pure: reads the fleet, keeps nothing but the timings it gets.

The names, types and labels are public: dashboards and alert rules build on them. Counters come from the ledger, so they
never go back when a trainer or the daemon starts again. A value that is not known has no series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from monitor.core.state.batches import BATCH_SECONDS_BUCKETS, WAIT_SECONDS_BUCKETS
from monitor.core.state.run import Fleet, RunState
from monitor.daemon.hardware.reading import RunHardware
from monitor.daemon.metrics.table import COUNTERS, GAUGES, Measure

PREFIX = "trainwarden_"
DETECT_SECONDS_BUCKETS = (0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.005, 0.01, 0.1)
RUNS_MAX = 50  # runs shown, the newest; 50 x about 150 series render in 100 ms


class Surroundings(msgspec.Struct, frozen=True):
    """What the daemon knows beside the core's state."""

    now_s: float
    version: str
    alerts_pending: dict[str, int]  # by run
    receivers: frozenset[tuple[str, str]]  # (run, receiver)
    histories_lost: int = 0  # 1: the history could not be read at the start, and was moved aside
    histories_shortened: int = 0  # 1: the end of the history was gone at the start
    set_aside: int = 0  # rows of the history, policies and files that could not be read
    downlinks_undelivered: int = 0
    hardware: dict[str, RunHardware] = {}  # by live run


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

    def of(self, run: str) -> tuple[list[int], float]:
        return self._buckets.get(run, []), self._sums.get(run, 0.0)

    def keep(self, runs: Iterable[str]) -> None:
        """Forget every other run."""
        kept = set(runs)
        for run in set(self._buckets) - kept:
            del self._buckets[run], self._sums[run]


def collect(fleet: Fleet, around: Surroundings, timings: Timings) -> list[Metric]:
    """Every metric, as values that no longer touch the state: made where it may be read, rendered anywhere."""
    runs = sorted(fleet.runs.values(), key=lambda run: run.opened_s, reverse=True)[:RUNS_MAX]
    metrics: list[Metric] = [*_daemon(fleet, around)]
    metrics += [_gauge(measure, runs, around) for measure in GAUGES]
    metrics += [_counter(measure, runs, around) for measure in COUNTERS]
    metrics += [
        _histogram(
            "batch_seconds", "From the end of a batch to the end of the next, rank 0.", BATCH_SECONDS_BUCKETS, runs,
            lambda run: _summed((t.totals.histogram_batch_s, t.totals.sum_batch_s) for t in run.trainings.values()),
        ),
        _histogram(
            "data_wait_seconds", "Part of a batch that waited for the data loader, rank 0.", WAIT_SECONDS_BUCKETS, runs,
            lambda run: _summed((t.totals.histogram_wait_s, t.totals.sum_wait_s) for t in run.trainings.values()),
        ),
        _histogram(
            "detect_seconds", "From an input to the core's answer, since the daemon started.",
            DETECT_SECONDS_BUCKETS, runs,
            lambda run: timings.of(run.spec.run),
        ),
    ]  # fmt: skip
    return metrics


def render(metrics: list[Metric], accept: str) -> tuple[bytes, str]:
    """The exposition and its content type, as `accept` (the header) asks. About 14 us a series: not for the loop."""
    registry = CollectorRegistry()
    registry.register(_Collected(metrics))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Collected(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


def _daemon(fleet: Fleet, around: Surroundings) -> Iterator[Metric]:
    built = GaugeMetricFamily(PREFIX + "build_info", "The daemon that answers; always 1.", labels=["version"])
    built.add_metric([around.version], 1)
    yield built
    yield GaugeMetricFamily(
        PREFIX + "runs", "Runs this daemon knows, ended ones of the last day included.", len(fleet.runs)
    )
    yield GaugeMetricFamily(
        PREFIX + "history_moved_aside",
        "1 where the history could not be read at the start: it is kept beside the new one.",
        around.histories_lost,
    )
    yield GaugeMetricFamily(
        PREFIX + "history_shortened",
        "1 where the history at the start ended before the last entry that was written: the rest is lost.",
        around.histories_shortened,
    )
    yield GaugeMetricFamily(
        PREFIX + "unreadable_parts",
        "Rows of the history, policies and files of run folders that this daemon could not read and passed over.",
        around.set_aside,
    )
    yield CounterMetricFamily(
        PREFIX + "downlinks_undelivered",
        "Acknowledgements and orders that had no peer to go to; both are sent again.",
        around.downlinks_undelivered,
    )


def _gauge(measure: Measure, runs: list[RunState], around: Surroundings) -> Metric:
    family = GaugeMetricFamily(PREFIX + measure.name, measure.help, labels=["run", *measure.labels])
    _fill(family, measure, runs, around)
    return family


def _counter(measure: Measure, runs: list[RunState], around: Surroundings) -> Metric:
    family = CounterMetricFamily(PREFIX + measure.name, measure.help, labels=["run", *measure.labels])
    _fill(family, measure, runs, around)
    return family


def _fill(
    family: GaugeMetricFamily | CounterMetricFamily, measure: Measure, runs: list[RunState], around: Surroundings
) -> None:
    for run in runs:
        for labels, value in measure.read(run, around):
            if value is not None:
                family.add_metric([run.spec.run, *labels], value)


def _summed(histograms: Iterable[tuple[list[int], float]]) -> tuple[list[int], float]:
    """Counts by bucket and the sum of the values, over the trainings of a run; no counts where none has any."""
    known = [(counts, total_s) for counts, total_s in histograms if counts]
    return [sum(column) for column in zip(*(counts for counts, _ in known), strict=True)], sum(s for _, s in known)


def _histogram(
    name: str,
    text: str,
    tops: tuple[float, ...],
    runs: list[RunState],
    read: Callable[[RunState], tuple[list[int], float]],
) -> Metric:
    family = HistogramMetricFamily(PREFIX + name, text, labels=["run"])
    for run in runs:
        counts, total_s = read(run)
        if counts:
            steps = zip((*map(str, tops), "+Inf"), accumulate(counts), strict=True)
            family.add_metric([run.spec.run], [(top, float(count)) for top, count in steps], total_s)
    return family
