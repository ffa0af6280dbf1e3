"""What the curves cost the daemon, and how soon a report of a long run is there: `python -m tests.bench.report`.

A run of as many batches as asked for (130,000: about three epochs of the night) is committed to a history as a daemon
commits it, ten batches at a time; then its curves are read and its page is written.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from monitor.core.model import Entry, RecordArrived
from monitor.core.model.curves import Curves
from monitor.history.curve_query import Range, curves
from monitor.history.recall import open_history
from monitor.history.transaction_rows import Commit
from monitor.report.page import page
from monitor.report.report_input import ReportInput, without_statistics
from monitor.report.whole import blocks
from tests.harness.report_inputs import rolled_back
from tests.harness.trainer import batch
from trainer_hooks.wire.messages import BatchEnded, Counts

COMMIT_BATCHES = 10
T = TypeVar("T")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=130_000)
    asked = parser.parse_args()
    print(f"| {asked.batches:,} batches | |\n| --- | --- |")
    with tempfile.TemporaryDirectory(prefix="tw-") as folder:
        bare_s, _ = _committed(Path(folder) / "bare", asked.batches, _bare)
        full_s, path = _committed(Path(folder) / "full", asked.batches, _full)
        _row("commit of loss, norm, rate and memory: CPU time a batch", f"{1e6 * bare_s / asked.batches:.0f} us")
        _row(
            "the same with 3 parts, 3 groups, memory in use: CPU time a batch", f"{1e6 * full_s / asked.batches:.0f} us"
        )
        read_s, found = _timed(lambda: curves(path, Range("r")))
        around_s, near = _timed(lambda: curves(path, Range("r", generation=1, first=60_000, last=60_600)))
        _row("curves of the whole run", f"{1e3 * read_s:.0f} ms, {len(found.signals['loss'])} points a curve")
        _row("curves around an onset", f"{1e3 * around_s:.0f} ms, {len(near.signals['loss'])} points a curve")
        _page(found, near)


def _page(whole: Curves, near: Curves) -> None:
    world = rolled_back()
    report_input = ReportInput(without_statistics(world.run), world.now_s, whole, {1: near})
    page_s, text = _timed(lambda: page("bench", blocks(report_input)))
    _row("page", f"{1e3 * page_s:.0f} ms, {len(text.encode()) / 1e3:.0f} kB")


def _committed(folder: Path, batches: int, make: Callable[[int], BatchEnded]) -> tuple[float, Path]:
    folder.mkdir()
    store, _ = open_history(folder)
    spent_s = 0.0
    for entries in _commits(batches, make):
        began_s = time.process_time()
        store.commit(Commit(entries=entries))
        spent_s += time.process_time() - began_s
    store.close()
    return spent_s, store.path


def _commits(batches: int, make: Callable[[int], BatchEnded]) -> Iterator[list[Entry]]:
    for first in range(1, batches + 1, COMMIT_BATCHES):
        yield [
            Entry(i, 1000.0 + i, RecordArrived("r", 1, 0, make(i)))
            for i in range(first, min(first + COMMIT_BATCHES, batches + 1))
        ]


def _full(i: int) -> BatchEnded:
    return msgspec.structs.replace(batch(Counts(batches=i)), loss=2.0 + math.sin(i / 900), memory_allocated=3 << 30)


def _bare(i: int) -> BatchEnded:
    return msgspec.structs.replace(_full(i), parts=(), learning_rates=(0.01,), memory_allocated=None)


def _timed(do: Callable[[], T]) -> tuple[float, T]:
    began_s = time.perf_counter()
    done = do()
    return time.perf_counter() - began_s, done


def _row(what: str, value: str) -> None:
    print(f"| {what} | {value} |")


if __name__ == "__main__":
    main()
