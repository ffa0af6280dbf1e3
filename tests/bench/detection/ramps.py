"""Slow damage: what is found of a loss that climbs: python -m tests.bench.detection.ramps [FOLDER].

Healthy losses are played as they are, and again with a ramp from two thirds on: to twice the loss over 100 rows, and to
1.3 times, where it stays. They are simulated; with FOLDER (see tests.bench.backtest_logs) they are those of its healthy
logs. Found is what warns after the onset and did not warn of the same loss without a ramp.
"""

from __future__ import annotations

import argparse
import csv
import math
import random
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from monitor.core.model import Severity
from monitor.recorded.importers import read_log
from monitor.recorded.importers.imported_run import ImportedRun, UnreadableLog
from tests.harness.simulation import Simulation

RAMPS = {"x2 over 100 rows": (2.0, 100), "x1.3, and stays": (1.3, 1)}
ROWS = 900  # of a simulated training
LOG_ROWS = (400, 4000)
LOGS_MAX = 44
NOISES = (0.03, 0.1, 0.3)  # of the logarithm
SEEDS = 8


def simulated() -> Iterator[list[float]]:
    """Losses that fall and flatten, calm ones and noisy ones."""
    for noise in NOISES:
        for seed in range(SEEDS):
            draw = random.Random(f"{noise}/{seed}")
            yield [(3.0 * math.exp(-at / 150) + 1.0) * math.exp(noise * draw.gauss(0, 1)) for at in range(ROWS)]


def recorded(folder: Path) -> Iterator[list[float]]:
    """The losses of the healthy logs that are neither short nor long, and hold a row a batch."""
    with (folder / "index.csv").open(newline="", encoding="utf-8") as opened:
        index = [row for row in csv.DictReader(opened) if row["label"] == "healthy"]
    least, most = LOG_ROWS
    for row in (each for each in index if least <= int(each["rows"] or 0) <= most):
        try:
            run = read_log((folder / row["file"]).read_bytes(), row["file"])
        except UnreadableLog:
            continue
        if isinstance(run, ImportedRun) and run.granularity == "batch" and run.rows[len(run.rows) - 1].generation == 1:
            losses = [each.loss for each in run.rows if each.loss is not None and math.isfinite(each.loss)]
            if len(losses) >= least and min(losses) > 0.0:
                yield losses


def climbing(losses: list[float], factor: float, rows: int) -> list[float]:
    """The same with a ramp from two thirds on."""
    onset = 2 * len(losses) // 3
    return [loss * factor ** min(max(at - onset + 1, 0) / rows, 1.0) for at, loss in enumerate(losses)]


def warnings(losses: list[float]) -> list[tuple[str, int]]:
    """Which detectors warn of it, and at which row."""
    training = Simulation(batches_per_epoch=len(losses), epochs=1)
    for loss in losses:
        training.batch(loss, batch_size=None)
    findings = training.run.training.findings
    return [(found.detector, found.at.count - 1) for found in findings if found.severity is not Severity.INFO]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    folder = parser.parse_args().folder
    trainings = list(simulated()) if folder is None else list(recorded(folder))[:LOGS_MAX]
    plain = [warnings(losses) for losses in trainings]
    print("| loss | trainings | warned | rows from the onset, median | by |\n|---|---|---|---|---|")
    print(f"| as it is | {len(plain)} | {sum(map(bool, plain))} | - | {_names(plain)} |")
    for name, (factor, rows) in RAMPS.items():
        found = [
            new_warnings(warnings(climbing(losses, factor, rows)), before, 2 * len(losses) // 3)
            for losses, before in zip(trainings, plain, strict=True)
        ]
        delays = [
            min(row for _, row in each) - 2 * len(losses) // 3
            for each, losses in zip(found, trainings, strict=True)
            if each
        ]
        median = f"{statistics.median(delays):g}" if delays else "-"
        print(f"| {name} | {len(found)} | {len(delays)} | {median} | {_names(found)} |")


def new_warnings(found: list[tuple[str, int]], before: list[tuple[str, int]], onset: int) -> list[tuple[str, int]]:
    """Those from the onset on, of detectors that did not warn there of the same loss without a ramp."""
    known = {name for name, row in before if row >= onset}
    return [(name, row) for name, row in found if row >= onset and name not in known]


def _names(found: list[list[tuple[str, int]]]) -> str:
    counted = Counter(name for each in found for name in {name for name, _ in each})
    return ", ".join(f"{name} {count}" for name, count in counted.most_common()) or "-"


if __name__ == "__main__":
    main()
