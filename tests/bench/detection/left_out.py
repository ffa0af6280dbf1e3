"""A rule for slow rises that was tried and is no detector: python -m tests.bench.detection.left_out [FOLDER].

The mean of 32 losses lies well above its lowest, in spreads of the loss and of its own usual drift. Printed is what it
finds of the ramps of `tests.bench.detection.ramps`, what it adds to the detectors there, and what it says of healthy
losses: of noise that wanders, as that of a GAN, and with FOLDER of its labelled logs.
"""

from __future__ import annotations

import argparse
import csv
import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from monitor.recorded.importers import read_log
from monitor.recorded.importers.imported_run import UnreadableLog
from tests.bench.detection.ramps import LOGS_MAX, RAMPS, climbing, new_warnings, recorded, simulated, warnings

FAST, SLOW = 32, 256  # losses
FALL, RISE = math.log(1.15), math.log(1.3)
SPREADS, BOTH_SPREADS, DRIFTS = 1.67, 0.4, 3.0
KNOWN = 64  # losses before the spread means something
WANDERING_SEEDS, WANDERING_ROWS, WANDERING = 24, 2000, 0.9


@dataclass
class SlowRise:
    """The rule: a loss that fell once has risen again, by its short mean alone or by both means."""

    seen: int = 0
    fast: float = 0.0
    slow: float = 0.0
    start: float = -math.inf
    best_fast: float = math.inf
    best_slow: float = math.inf
    spread: float = 0.0
    drift: float = 0.0

    def warns(self, loss: float) -> bool:
        """Take one loss in."""
        value = math.log(max(loss, 1e-12))
        self.seen += 1
        self.fast += (value - self.fast) / min(self.seen, FAST)
        self.slow += (value - self.slow) / min(self.seen, SLOW)
        self.spread += (abs(value - self.fast) - self.spread) / min(self.seen, SLOW)
        if self.seen <= FAST:
            self.start = self.fast
            return False
        self.best_fast, self.best_slow = min(self.best_fast, self.fast), min(self.best_slow, self.slow)
        self.drift += (abs(self.fast - self.slow) - self.drift) / min(self.seen - FAST, SLOW)
        noise = max(self.spread, 0.02, DRIFTS * self.drift)
        rise = self.fast - self.best_fast
        if self.seen < KNOWN + FAST or self.start - self.best_fast < FALL or rise <= RISE:
            return False
        both = min(rise, self.slow - self.best_slow)
        return rise >= SPREADS * noise or (both > RISE and both >= BOTH_SPREADS * noise)


def first_row(losses: list[float]) -> int | None:
    """The first row at which the rule warns."""
    rule = SlowRise()
    return next((row for row, loss in enumerate(losses) if math.isfinite(loss) and rule.warns(loss)), None)


def wandering() -> Iterator[list[float]]:
    """Healthy losses that fall, and then wander as those of two networks that train against each other."""
    for seed in range(WANDERING_SEEDS):
        draw, noise, losses = random.Random(seed), 0.0, []
        for at in range(WANDERING_ROWS):
            noise = WANDERING * noise + 0.15 * draw.gauss(0, 1)
            losses.append((1.0 + math.exp(-at / 150)) * math.exp(noise))
        yield losses


def labelled(folder: Path) -> Counter[str]:
    """How many logs of each label the rule warns of, each generation judged afresh."""
    warned: Counter[str] = Counter()
    with (folder / "index.csv").open(newline="", encoding="utf-8") as opened:
        for row in csv.DictReader(opened):
            try:
                rows = read_log((folder / row["file"]).read_bytes(), row["file"]).rows
            except UnreadableLog:
                continue
            losses: dict[int, list[float]] = {}
            for each in rows:
                if each.loss is not None:
                    losses.setdefault(each.generation, []).append(each.loss)
            warned[row["label"]] += any(first_row(each) is not None for each in losses.values())
    return warned


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    folder = parser.parse_args().folder
    trainings = list(simulated()) if folder is None else list(recorded(folder))[:LOGS_MAX]
    print("| loss | trainings | the rule warns | the detectors | the rule alone |\n|---|---|---|---|---|")
    for name, (factor, rows) in RAMPS.items():
        counts = [_ramp(losses, factor, rows) for losses in trainings]
        by_rule, by_detectors = (sum(column) for column in zip(*counts, strict=True))
        print(
            f"| {name} | {len(counts)} | {by_rule} | {by_detectors} | {sum(rule > found for rule, found in counts)} |"
        )
    healthy = [first_row(losses) is not None for losses in wandering()]
    print(f"| healthy, wandering | {len(healthy)} | {sum(healthy)} | - | - |")
    for label, count in sorted(labelled(folder).items()) if folder else ():
        print(f"| logs: {label} | | {count} | - | - |")


def _ramp(losses: list[float], factor: float, rows: int) -> tuple[bool, bool]:
    """Whether the rule warns of the ramp, and whether a detector does."""
    onset, ramp = 2 * len(losses) // 3, climbing(losses, factor, rows)
    row = first_row(ramp)
    found = new_warnings(warnings(ramp), warnings(losses), onset)
    return row is not None and row >= onset and first_row(losses) is None, bool(found)


if __name__ == "__main__":
    main()
