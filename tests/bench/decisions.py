"""The decision table against a guard that only skips bad steps: single faults, then random mixes of one to three.

`python -m tests.bench.decisions [--mixes N] [--first N]`. The trainings are those of tests/harness/faulty_training.py.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass, field

from monitor.core.policy.settings import Policy
from monitor.core.policy.table_settings import WhenClean
from tests.harness.faulty_training import FAULTS, Fault, Watched, from_the_first, guard_only, healthy, random_mix, worse

LOST = 1.0  # a loss above it, or NaN: the training came to nothing; a healthy one ends at 0.400
WAYS = (WhenClean.ADJUST, WhenClean.ROLLBACK)
SINGLE: dict[str, Fault] = {"healthy": healthy, **FAULTS, "from_the_first": from_the_first}


@dataclass
class Sums:
    """Over all mixes, under one policy."""

    worse: list[int] = field(default_factory=list)  # numbers of the mixes
    lost: int = 0
    stopped: int = 0
    trained: float = 0.0
    actions_max: int = 0


def single(seed: int) -> None:
    """A table of each fault alone."""
    print("| fault | guard alone | default | orders | `rollback` | orders |")
    print("|---|---|---|---|---|---|")
    for name, fault in SINGLE.items():
        cells = [name, f"{guard_only(fault, seed):.3f}"]
        for when_clean in WAYS:
            played = Watched(fault, seed, Policy(when_clean=when_clean)).play()
            end = "" if played.finished else " (stopped)"
            cells += [f"{played.loss:.3f}{end}", ", ".join(played.actions) or "none"]
        print(f"| {' | '.join(cells)} |")


def mixes(first: int, count: int) -> dict[str, Sums]:
    """Every mix under each policy."""
    sums = {str(way): Sums() for way in WAYS}
    for number in range(first, first + count):
        _, fault = random_mix(number)
        alone = guard_only(fault, number)
        for when_clean in WAYS:
            played, total = Watched(fault, number, Policy(when_clean=when_clean)).play(), sums[str(when_clean)]
            if worse(played.loss, alone):
                total.worse.append(number)
            total.lost += math.isnan(played.loss) or played.loss > LOST
            total.stopped += not played.finished
            total.trained += played.trained / count
            total.actions_max = max(total.actions_max, len(played.actions))
    return sums


def main(arguments: list[str] | None = None) -> int:
    """Print both tables; the exit code is 1 where the default policy was worse than a guard alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mixes", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args(arguments)
    single(seed=1)
    alone = [guard_only(random_mix(number)[1], number) for number in range(given.first, given.first + given.mixes)]
    lost_alone = sum(math.isnan(loss) or loss > LOST for loss in alone)
    print(f"\n{given.mixes} mixes; with a guard alone {lost_alone} of them come to nothing\n")
    print("| when_clean | worse than a guard alone | come to nothing | stopped | batches trained | most orders |")
    print("|---|---|---|---|---|---|")
    sums = mixes(given.first, given.mixes)
    for name, s in sums.items():
        print(f"| {name} | {len(s.worse)} | {s.lost} | {s.stopped} | x {s.trained:.3f} | {s.actions_max} |")
    for name, s in sums.items():
        if s.worse:
            print(f"\n{name}, worse: mixes {', '.join(map(str, s.worse))}")
    return int(bool(sums[str(WhenClean.ADJUST)].worse))


if __name__ == "__main__":
    sys.exit(main())
