"""`make bench`: every measurement of this folder, one table after the other. Asserts nothing."""

from __future__ import annotations

import subprocess
import sys

MEASUREMENTS = (
    ("What the hook adds to the training thread, and to a whole training", "overhead --daemon healthy"),
    ("The same with the daemon stopped", "overhead --daemon stopped"),
    ("The same without a daemon", "overhead --daemon absent"),
    ("What the hook adds to a batch, within one training", "added"),
    ("From the first NaN to the first batch of the new generation", "recovery"),
    ("What a snapshot costs a training", "snapshots"),
    ("Going back in the process and by a new start; batches done again with and without snapshots", "going_back"),
    ("Reports", "report"),
    ("Charts of two million batches", "charts"),
    ("How slow is found", "throughput"),
    ("From the start of a daemon to its first answer", "daemon_start"),
    ("From kill -9 of a daemon to the first answer of the next", "daemon_back"),
    ("A scrape of 50 runs", "scrape"),
    ("What a healthy batch costs the core", "core_speed"),
    ("Backtest of 100 logs of each kind", "backtest_speed --files 100"),
    ("What the decision table does about planted faults, beside a guard alone", "decisions --mixes 200"),
    ("Real trainings with faults: never worse than without us", "never_worse"),
    ("Slow damage: a loss that climbs", "detection.ramps"),
    ("False alarms (`python -m tests.bench.detection` has the faults and the peers' rules too)", "false_alarms"),
)


def main() -> int:
    """A process each: one has one connection. The exit code is 1 where one of them failed."""
    failed = 0
    for title, words in MEASUREMENTS:
        print(f"\n{title}: python -m tests.bench.{words}\n", flush=True)
        module, *arguments = words.split()
        failed += subprocess.run([sys.executable, "-m", f"tests.bench.{module}", *arguments], check=False).returncode
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
