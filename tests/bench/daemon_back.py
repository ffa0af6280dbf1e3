"""How long a run is without a daemon after `kill -9` of it: python -m tests.bench.daemon_back [--repeats N].

A real `trainwarden run` in an empty home; its daemon is killed again and again, and the time counts until the next one,
which the supervisor starts, answers /-/healthy on the Unix socket.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import _trainwarden
from monitor.client.http import Client, ClientError
from monitor.core.model.channel import Health

BETWEEN_S = 1.5  # between two kills, so that none falls into the start before it
LONGEST_S = 30.0


def _health(client: Client) -> Health | None:
    try:
        client.text("/-/healthy")
        return client.get("/api/v1/health", Health)
    except ClientError:
        return None


def _another(client: Client, pid: int) -> float:
    """Seconds until a daemon with another pid answers."""
    began_s = time.perf_counter()
    while (found := _health(client)) is None or found.pid == pid:
        if time.perf_counter() - began_s > LONGEST_S:
            raise TimeoutError(f"no daemon within {LONGEST_S:g} s")
        time.sleep(0.005)
    return time.perf_counter() - began_s


def measured(home: Path, repeats: int) -> list[float]:
    """The seconds of each kill."""
    environment = {**os.environ, "TRAINWARDEN_HOME": str(home)}
    command = _trainwarden.console_command("run", "--port", "0", "--", "sleep", "600")
    took = []
    with subprocess.Popen(command, env=environment, cwd=home, stderr=subprocess.DEVNULL) as supervisor:
        client = Client(home / "run" / "api.sock", LONGEST_S)
        pid = 0
        try:
            _another(client, pid)
            for _ in range(repeats):
                time.sleep(BETWEEN_S)
                pid = client.get("/api/v1/health", Health).pid
                os.kill(pid, signal.SIGKILL)
                took.append(_another(client, pid))
        finally:
            supervisor.terminate()
            supervisor.wait(LONGEST_S)
            if last := _health(client):
                os.kill(last.pid, signal.SIGTERM)
    return took


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    with tempfile.TemporaryDirectory(prefix="tw-") as folder:
        took = measured(Path(folder), parser.parse_args().repeats)
    middle, load = statistics.median(took), os.getloadavg()[0]
    print(f"daemon back after kill -9: least {min(took):.2f} s, median {middle:.2f} s, most {max(took):.2f} s")
    print(f"({len(took)} kills, {os.cpu_count()} cores, load {load:.1f})")


if __name__ == "__main__":
    main()
