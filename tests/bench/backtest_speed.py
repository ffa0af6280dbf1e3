"""How long a backtest of many logs takes on one core: python -m tests.bench.backtest_speed [--files N] [--steps N].

Generates the logs (the same ones each time), runs `trainwarden backtest` over the folder in a process of its own, and
prints what it took, by kind of log. CPU time, so that a machine that is busy otherwise says nearly the same.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from monitor.recorded.stream import Recorded, stream_bytes
from trainer_hooks.wire.messages import BatchEnded, Counts

EPOCH_ROWS = 500


@dataclass(frozen=True)
class Taken:
    """What one folder took."""

    kind: str
    files: int
    rows: int
    cpu_s: float
    wall_s: float
    peak_mib: float  # of the largest process so far


def numbers(seed: int, steps: int) -> Iterator[tuple[int, int, float, float, float]]:
    """Step, epoch, loss, gradient norm and learning rate of a healthy run."""
    draw = random.Random(seed)
    for step in range(steps):
        loss = 2.0 * math.exp(-step / 3000 + 0.1 * draw.gauss(0, 1))
        yield step, step // EPOCH_ROWS, loss, 3.0 * math.exp(0.3 * draw.gauss(0, 1)), 1e-3 * (1 - step / steps)


def as_csv(seed: int, steps: int) -> tuple[str, bytes]:
    rows = (f"{s + 1},{e},{loss:.6f},{norm:.6f},{rate:.8f}\n" for s, e, loss, norm, rate in numbers(seed, steps))
    return "metrics.csv", ("step,epoch,loss,grad_norm,lr\n" + "".join(rows)).encode()


def as_trainer_state(seed: int, steps: int) -> tuple[str, bytes]:
    rows = [
        {"step": s + 1, "epoch": s / EPOCH_ROWS, "loss": round(loss, 4), "grad_norm": norm, "learning_rate": rate}
        for s, _, loss, norm, rate in numbers(seed, steps)
    ]
    return "trainer_state.json", json.dumps({"log_history": rows}).encode()


def as_stream(seed: int, steps: int) -> tuple[str, bytes]:
    records = [
        Recorded(
            0.1 * s,
            BatchEnded(
                0.1 * s, 0.1 * s, e + 1, s % EPOCH_ROWS, EPOCH_ROWS, Counts(s + 1, s + 1), loss=loss, grad_norm=norm,
                learning_rates=(rate,), batch_s=0.1,
            ),
        )
        for s, e, loss, norm, rate in numbers(seed, steps)
    ]  # fmt: skip
    return "stream.jsonl", stream_bytes(records)


KINDS: dict[str, Callable[[int, int], tuple[str, bytes]]] = {
    "CSV": as_csv,
    "trainer_state.json": as_trainer_state,
    "recorded stream": as_stream,
}


def measured(kind: str, files: int, steps: int, jobs: int) -> Taken:
    """Generate a folder of one kind, and backtest it."""
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(files):
            name, data = KINDS[kind](seed, steps)
            (Path(folder) / f"{seed}-{name}").write_bytes(data)
        before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [
            str(Path(sys.executable).with_name("trainwarden")),
            "backtest",
            "--json",
            "--fail-on",
            "never",
            "--jobs",
            str(jobs),
        ]
        told = json.loads(subprocess.run([*command, folder], check=True, capture_output=True).stdout)
        after, wall_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began_s
    assert told["totals"]["runs"] == files, told["errors"]
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Taken(kind, files, told["totals"]["rows"], cpu_s, wall_s, after.ru_maxrss / 1024)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--kind", choices=list(KINDS), action="append", help="else all of them")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before, Python {sys.version.split()[0]}\n")
    print("| logs | files | rows | processes | CPU | wall clock | a row | memory |\n|---|---|---|---|---|---|---|---|")
    for kind in given.kind or KINDS:
        one = measured(kind, given.files, given.steps, given.jobs)
        row = f"{one.cpu_s / one.rows * 1e6:.1f} us"
        print(
            f"| {kind} | {one.files} | {one.rows} | {given.jobs} | {one.cpu_s:.1f} s | {one.wall_s:.1f} s | {row} "
            f"| {one.peak_mib:.0f} MiB |",
            flush=True,
        )


if __name__ == "__main__":
    main()
