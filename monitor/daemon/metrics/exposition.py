"""The state of every run as Prometheus metrics. Pure: reads the fleet, keeps nothing but the timings it gets.

The names, types and labels are public: dashboards and alert rules build on them. Counters come from the ledger, so they
never go back when a trainer or the daemon starts again. A value that is not known has no series. The number of series
is bounded: a run has so many at most, and of many runs the live and the newest ones are shown.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator

import msgspec
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from monitor.core.state.run import Fleet, RunState
from monitor.daemon.hardware.reading import RunHardware
from monitor.daemon.metrics.histograms import HISTOGRAMS, Timings
from monitor.daemon.metrics.table import COUNTERS, GAUGES

PREFIX = "trainwarden_"
SERIES_OF_RUN_MAX = 2_000
SERIES_MAX = 10_000  # of all runs together: about 5 us each
HISTOGRAM_SERIES = 2  # beside its buckets: the sum and the count
GZIP_LEVEL = 1  # the text is very regular: a higher one takes longer than it saves on a network

Rows = list[tuple[int, tuple[str, ...], float]]  # place in the tables, labels behind `run`, value


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


def collect(fleet: Fleet, around: Surroundings, timings: Timings) -> list[Metric]:
    """Every metric, as values that no longer touch the state: made where it may be read, rendered anywhere."""
    gauges: list[GaugeMetricFamily | CounterMetricFamily] = [
        GaugeMetricFamily(PREFIX + one.name, one.help, labels=["run", *one.labels]) for one in GAUGES
    ]
    counters = [CounterMetricFamily(PREFIX + one.name, one.help, labels=["run", *one.labels]) for one in COUNTERS]
    families = [*gauges, *counters]
    histograms = [HistogramMetricFamily(PREFIX + one.name, one.help, labels=["run"]) for one in HISTOGRAMS]
    room, left_out, runs_left_out = SERIES_MAX, 0, 0
    for run in sorted(fleet.runs.values(), key=lambda run: (run.alive, run.opened_s), reverse=True):
        rows = _rows(run, around)
        counted = [one.read(run, timings) for one in HISTOGRAMS]
        fixed = sum(len(counts) + HISTOGRAM_SERIES for counts, _ in counted if counts)
        shown = rows[: SERIES_OF_RUN_MAX - fixed]
        left_out += len(rows) - len(shown)
        if len(shown) + fixed > room:
            left_out, runs_left_out = left_out + len(shown) + fixed, runs_left_out + 1
            continue
        room -= len(shown) + fixed
        for place, labels, value in shown:
            families[place].add_metric([run.spec.run, *labels], value)
        for family, histogram, (counts, total_s) in zip(histograms, HISTOGRAMS, counted, strict=True):
            if counts:
                family.add_metric([run.spec.run], histogram.buckets(counts), total_s)
    return [*_daemon(fleet, around), *_left_out(left_out, runs_left_out), *families, *histograms]


def render(metrics: list[Metric], accept: str, accept_encoding: str = "") -> tuple[bytes, dict[str, str]]:
    """The exposition and its headers, as `accept` and `accept_encoding` (headers) ask. Not for the loop: see above."""
    registry = CollectorRegistry()
    registry.register(_Collected(metrics))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    data = encode(registry)
    headers = {"content-type": content_type, "vary": "accept, accept-encoding"}
    if "gzip" in accept_encoding.lower():
        return gzip.compress(data, GZIP_LEVEL), headers | {"content-encoding": "gzip"}
    return data, headers


class _Collected(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


def _rows(run: RunState, around: Surroundings) -> Rows:
    """The counters first: where a run has too many series, its gauges are those that are left out."""
    placed = [*enumerate(COUNTERS, len(GAUGES)), *enumerate(GAUGES)]
    return [
        (place, labels, value)
        for place, measure in placed
        for labels, value in measure.read(run, around)
        if value is not None
    ]


def _left_out(series: int, runs: int) -> Iterable[Metric]:
    yield GaugeMetricFamily(
        PREFIX + "series_left_out",
        f"Series that are not shown: a run has at most {SERIES_OF_RUN_MAX}, all runs together {SERIES_MAX}.",
        series,
    )
    yield GaugeMetricFamily(
        PREFIX + "runs_left_out", "Runs that are not shown: live and newer ones have taken the room.", runs
    )


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


def help_texts() -> dict[str, str]:
    """The help of every metric, by its name without `_total`, `_bucket` and the like."""
    around = Surroundings(0.0, "", {}, frozenset())
    return {family.name: family.documentation for family in collect(Fleet(), around, Timings())}
