"""How long a daemon takes from its start to its first answer: python -m tests.bench.daemon_start [--repeats N].

Starts it as `trainwarden run` does, in an empty home and in the home of a run that is over, and waits until its port
answers /-/ready. The least of several starts, since other work on the machine only adds to it. `--other COMMAND` starts
another version's daemon in turns with this one, in an empty home: `OTHER/.venv/bin/python -E -P -m monitor`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import _trainwarden
from tests.harness.finished import lay_down
from tests.harness.simulation import Simulation, calm

POLL_S = 0.002
LONGEST_S = 30.0
BATCHES = 2000  # of the run that is over
OPTIONS = ("serve", "--detached", "--port", "0")


def started(command: list[str], home: Path) -> tuple[float, float]:
    """Seconds until a daemon says that it is ready, and CPU seconds of its whole life, its end included."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRAINWARDEN_")}
    endpoint = home / "run" / "daemon.json"
    endpoint.unlink(missing_ok=True)
    before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    daemon = subprocess.Popen(
        [*command, *OPTIONS], cwd=home, env={**environment, "TRAINWARDEN_HOME": str(home)}, stderr=subprocess.DEVNULL
    )
    try:
        _until(endpoint.exists, began_s)
        port = json.loads(endpoint.read_bytes())["port"]
        _until(lambda: _is_ready(port), began_s)
        ready_s = time.perf_counter() - began_s
    finally:
        daemon.terminate()
        daemon.wait(LONGEST_S)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ready_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _until(true: Callable[[], bool], began_s: float) -> None:
    while not true():
        if time.perf_counter() - began_s > LONGEST_S:
            raise TimeoutError(f"no daemon within {LONGEST_S:g} s")
        time.sleep(POLL_S)


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST_S)
    try:
        connection.request("GET", "/-/ready")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def _of_a_finished_run(home: Path) -> None:
    training = Simulation()
    calm(training, BATCHES, random.Random(1))
    lay_down(home, training)


def _nothing(home: Path) -> None:
    del home


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--other", metavar="COMMAND", help="how the daemon of another version is started")
    given = parser.parse_args()
    ours = _trainwarden.child_command("monitor")
    cases: list[tuple[str, list[str], Callable[[Path], None]]] = [
        ("empty home", ours, _nothing),
        (f"home of a run of {BATCHES} batches", ours, _of_a_finished_run),
    ]
    if given.other:
        cases.insert(0, ("empty home, the other version", shlex.split(given.other), _nothing))
    took: dict[str, list[tuple[float, float]]] = {name: [] for name, _, _ in cases}
    for _ in range(given.repeats):
        for name, command, prepare in cases:
            with tempfile.TemporaryDirectory(prefix="tw-") as folder:
                prepare(Path(folder))
                took[name].append(started(command, Path(folder)))
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}\n")
    print("| daemon in | starts | ready, least | ready, median | CPU, least |\n|---|---|---|---|---|")
    for name, times in took.items():
        ready, cpu = [ready_s for ready_s, _ in times], min(cpu_s for _, cpu_s in times)
        middle = statistics.median(ready)
        print(f"| {name} | {len(times)} | {min(ready):.2f} s | {middle:.2f} s | {cpu:.2f} s |")


if __name__ == "__main__":
    main()
