"""From what loss of throughput on it is found, over several kinds of noise, and how often it is reported for nothing.

`python -m tests.bench.throughput [--seeds N]`. Prints a table, asserts nothing. Each cell: trainings in which it was
found within 1,000 batches of the loss, and the median delay in batches. Healthy: alarms in 20,000 batches a seed.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from collections.abc import Callable

from monitor.core.detectors import load_all
from tests.harness.simulation import Simulation

ASKED = {name: detector for name, detector in load_all().items() if name in ("throughput", "step_time")}
ONSET = 6_000
WITHIN = 1_000
HEALTHY = 20_000
LOSSES = (0.05, 0.10, 0.15, 0.25)
Pattern = Callable[[int, random.Random], float]


def drifting() -> Pattern:
    """Neighbours on the host: what is slow now is slow a while later."""
    state = [0.0]

    def factor(at: int, draw: random.Random) -> float:
        state[0] = 0.95 * state[0] + 0.03 * draw.gauss(0, 1)
        return math.exp(state[0])

    return factor


def noise(spread: float) -> Callable[[], Pattern]:
    return lambda: lambda at, draw: math.exp(spread * draw.gauss(0, 1))


def stalls() -> Pattern:
    return lambda at, draw: math.exp(0.05 * draw.gauss(0, 1)) * (20.0 if draw.random() < 0.01 else 1.0)


def daily() -> Pattern:
    return lambda at, draw: math.exp(0.05 * draw.gauss(0, 1) + 0.03 * math.sin(at / 3000))


def by_length() -> Pattern:
    """Sorted by length within the epoch, and nothing tells the lengths."""
    return lambda at, draw: (0.5 + 1.5 * (at % 1000) / 1000) * math.exp(0.05 * draw.gauss(0, 1))


KINDS: dict[str, Callable[[], Pattern]] = {
    "noise of 8 %": noise(0.08), "noise of 30 %": noise(0.3), "drifting": drifting, "stalls": stalls, "daily": daily,
    "by length": by_length,
}  # fmt: skip


def train(pattern: Pattern, batches: int, seed: int, loss: float = 0.0) -> Simulation:
    """One training; with a loss it ends where that is told."""
    training, draw = Simulation(detectors=ASKED), random.Random(seed)
    for at in range(batches):
        slower = 1.0 / (1.0 - loss) if at >= ONSET else 1.0
        training.batch(2.0, 3.0, took_s=0.2 * pattern(at, draw) * slower)
        if loss and training.found:
            break
    return training


def cell(kind: Callable[[], Pattern], loss: float, seeds: int) -> str:
    """Found of how many, and the median delay."""
    delays = []
    for seed in range(seeds):
        found = train(kind(), ONSET + WITHIN, seed, loss).run.training.findings
        delays += [finding.at.count - ONSET for finding in found[:1] if finding.at.count > ONSET]
    return f"{len(delays)}/{seeds}" + (f" ({statistics.median(delays):.0f})" if delays else "")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    seeds: int = parser.parse_args(arguments).seeds
    print("| training | healthy: alarms | " + " | ".join(f"{loss:.0%} less" for loss in LOSSES) + " |")
    print("|---|---|" + "---|" * len(LOSSES))
    for name, kind in KINDS.items():
        alarms = sum(sum(train(kind(), HEALTHY, seed).found.values()) for seed in range(seeds))
        cells = [f"{alarms} in {HEALTHY * seeds}", *(cell(kind, loss, seeds) for loss in LOSSES)]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
