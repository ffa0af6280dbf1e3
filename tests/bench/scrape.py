"""What a scrape of many runs takes: `python -m tests.bench.scrape [--runs N]`. Prints a table.

Each run is a simulated training of 500 batches with a checkpoint, on a machine without a GPU. Collected is what the
daemon's loop does; rendered and compressed is what a thread does beside it.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import msgspec
from prometheus_client.core import Metric

from monitor.core.state.run import Fleet
from monitor.daemon.metrics import exposition
from monitor.daemon.metrics.histograms import Timings
from tests.harness.script import Script

ROUNDS = 20


def fleet_of(runs: int) -> Fleet:
    """So many runs that are alike but for their names."""
    script = Script()
    script.start(1)
    script.batches(1, 300)
    script.saved(1, 1)
    script.batches(1, 200)
    fleet = Fleet()
    for number in range(runs):
        run = copy.deepcopy(script.run)
        run.spec = msgspec.structs.replace(run.spec, run=f"run-{number:03}")
        run.opened_s += number
        fleet.runs[run.spec.run] = run
    return fleet


def timings_of(fleet: Fleet) -> Timings:
    """The core's own time for one input of each run, as a daemon has it after the first."""
    timings = Timings()
    for run in fleet.runs:
        timings.add(run, 0.00002)
    return timings


def left_out(collected: list[Metric]) -> str:
    """What the limit on series keeps from the answer."""
    found = {family.name: family.samples[0].value for family in collected if family.name.endswith("_left_out")}
    runs, series = (found[f"trainwarden_{name}_left_out"] for name in ("runs", "series"))
    return f"{runs:.0f} runs, {series:,.0f} series"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    given = parser.parse_args()
    fleet = fleet_of(given.runs)
    timings = timings_of(fleet)
    around = exposition.Surroundings(time.time(), "0", {}, frozenset())
    rows: list[tuple[float, float, float, int, int, int]] = []
    for _ in range(ROUNDS):
        began_s = time.perf_counter()
        collected = exposition.collect(fleet, around, timings)
        collected_s = time.perf_counter()
        plain, _headers = exposition.render(collected, "")
        rendered_s = time.perf_counter()
        packed, _headers = exposition.render(collected, "", "gzip")
        packed_s = time.perf_counter()
        series = sum(len(family.samples) for family in collected)
        rows.append(
            (collected_s - began_s, rendered_s - collected_s, packed_s - rendered_s, series, len(plain), len(packed))
        )
    collect_s, render_s, pack_s = (statistics.median(row[place] for row in rows) for place in range(3))
    series, plain_bytes, packed_bytes = rows[-1][3:]
    print(f"| {given.runs} runs | median of {ROUNDS} |\n|---|---|")
    print(f"| series | {series:,} |")
    print(f"| left out | {left_out(collected)} |")
    print(f"| collected in the loop | {collect_s * 1e3:.0f} ms |")
    print(f"| rendered in a thread | {render_s * 1e3:.0f} ms, {plain_bytes / 1e3:.0f} kB |")
    print(f"| rendered and compressed | {pack_s * 1e3:.0f} ms, {packed_bytes / 1e3:.0f} kB |")


if __name__ == "__main__":
    main()
