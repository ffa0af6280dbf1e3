"""The reference of the metrics, out of the same table that is exposed. Pure."""

from __future__ import annotations

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from monitor.core.state.run import Fleet
from monitor.daemon.metrics.exposition import SERIES_MAX, SERIES_OF_RUN_MAX, Surroundings, collect
from monitor.daemon.metrics.histograms import Timings
from monitor.daemon.metrics.measure import RANKS_SHOWN

HEAD = f"""# Metrics

What `/metrics` of a daemon has. This file is made of the code (`make docs`).

- Counters never go back when a training or the daemon starts again. All but a few are there from the start, at 0.
- A value that is not known has no series. A loss or a norm may be NaN.
- `rank` is a number up to {RANKS_SHOWN} ranks; above that only `min` and `max` are shown.
- A run has at most {SERIES_OF_RUN_MAX:,} series, all runs together {SERIES_MAX:,}; what is not shown is counted by
  `trainwarden_series_left_out`. The series of a run leave a day after its end.
- Times are Unix seconds. An age is computed in PromQL: `time() - trainwarden_last_checkpoint_timestamp_seconds`.
- Beside these there are `process_*` and `python_info`, about the daemon itself.

| metric | type | labels | what it is |
|---|---|---|---|
"""


def reference() -> str:
    """Markdown: a row for each metric."""
    families = sorted(collect(Fleet(), Surroundings(0.0, "", {}, frozenset()), Timings()), key=lambda f: f.name)
    return HEAD + "\n".join(_row(family) for family in families) + "\n"


def _row(family: Metric) -> str:
    counter = isinstance(family, CounterMetricFamily)
    kind = "counter" if counter else "histogram" if isinstance(family, HistogramMetricFamily) else "gauge"
    labels = ", ".join(getattr(family, "_labelnames", ()))
    return f"| `{family.name}{'_total' if counter else ''}` | {kind} | {labels} | {family.documentation} |"
