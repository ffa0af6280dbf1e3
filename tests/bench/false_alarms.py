"""How many false alarms the detectors raise on the healthy trainings and the look-alikes of the bench.

`python -m tests.bench.false_alarms [--batches N] [--seed N]`. A streak of one detector counts once.
"""

from __future__ import annotations

import argparse
import sys

from tests.bench.detection.command import bench


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; the exit code is 1 where something would have been acted upon."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    only = ("--only", "healthy", "--only", "benign", "--no-peers")
    return bench([*only, "--healthy-batches", str(given.batches), "--seed", str(given.seed)])


if __name__ == "__main__":
    sys.exit(main())
