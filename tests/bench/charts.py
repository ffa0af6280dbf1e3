"""How soon a chart of two million batches is there, at the API: `python -m tests.bench.charts`.

A history of one run of so many batches and ten signals is written with SQL, in the tables' own form; a real daemon then
answers each span, with ten signals and with one. The run is in the daemon's state by its announcement alone.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

import httpx

from monitor.core.model.channel import RunAnnounced
from monitor.history import schema
from monitor.history.recall import FILE_NAME
from tests.harness.real_daemon import DaemonProcess
from tests.harness.trainer import announce

TRIES = 9
SIGNALS = (
    "loss",
    "grad_norm",
    "learning_rate",
    "reserved",
    "batch_s",
    "data_wait_s",
    "nonfinite",
    "part/0",
    "part/1",
    "part/2",
)
FINEST = """
WITH RECURSIVE buckets(b) AS (SELECT 0 UNION ALL SELECT b + 1 FROM buckets WHERE b + 1 < ?2)
INSERT INTO rollups SELECT 'night', 0, ?3, 1, b, ?1, b * 16.0, b * 16.0 + 15, 16, abs(random() % 1000) / 50.0,
  abs(random() % 1000) / 1000.0, 1 + abs(random() % 1000) / 1000.0 FROM buckets
"""
COARSER = """
INSERT INTO rollups SELECT run, rank, ?1, generation, bucket / ?2, signal, min(from_s), max(to_s), sum(n), sum(total),
  min(low), max(high) FROM rollups WHERE level = ?3 AND bucket < ?4 GROUP BY run, rank, signal, generation, bucket / ?2
"""
RAW = """
WITH RECURSIVE counts(c) AS (SELECT ?1 UNION ALL SELECT c + 1 FROM counts WHERE c < ?2)
INSERT INTO samples (run, generation, rank, count, epoch, batch, at_s, loss, grad_norm, nonfinite, learning_rate,
  reserved, batch_s, data_wait_s, allocated, more)
SELECT 'night', 1, 0, c, 1, c, c, abs(random() % 1000) / 500.0, 3.0, 0, 0.01, 4000000000, 0.1, 0.01, NULL,
  x'9293cb3ff0000000000000cb3fe0000000000000cb3fe000000000000090' FROM counts
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=2_000_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tw-") as folder:
        home = Path(folder)
        home.chmod(0o700)
        announce(home, "night")
        with DaemonProcess(home) as daemon:
            daemon.send(RunAnnounced("night"))
            daemon.kill()
            _write(home / FILE_NAME, asked.batches)
            daemon.start()
            print(
                f"| {asked.batches:,} batches | 10 signals | one signal | gzip, 10 signals |\n| --- | --- | --- | --- |"
            )
            for span in (asked.batches, 1_000_000, 150_000, 50_000, 5_000, 1_000):
                first = max(1, asked.batches - span - 1_000)
                where = f"/api/v1/runs/night/chart?first={first}&last={first + span - 1}"
                every_ms, size = _timed(daemon, where)
                one_ms, _ = _timed(daemon, f"{where}&signals=loss")
                print(f"| {span:,} | {every_ms:.0f} ms | {one_ms:.0f} ms | {size / 1e3:.0f} kB |")


def _write(path: Path, batches: int) -> None:
    with sqlite3.connect(path) as db:
        for signal in SIGNALS:
            db.execute(FINEST, (signal, batches // schema.LEVELS[0], schema.LEVELS[0]))
        for level in schema.LEVELS[1:]:
            finer = level // schema.LEVELS[0]
            db.execute(COARSER, (level, finer, schema.LEVELS[0], batches // level * finer))
        db.execute(RAW, (batches - schema.RAW_ROWS_MAX + 1, batches))
    db.close()


def _timed(daemon: DaemonProcess, path: str) -> tuple[float, int]:
    """Milliseconds of the median try, and the bytes of the answer as they travel."""
    took_s, size = [], 0
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(daemon.home / "run" / "api.sock"))) as client:
        for _ in range(TRIES):
            began_s = time.perf_counter()
            answer = client.get(f"http://trainwarden{path}", headers={"accept-encoding": "gzip"})
            took_s.append(time.perf_counter() - began_s)
            assert answer.status_code == 200, answer.text
            size = int(answer.headers["content-length"])
    return 1e3 * statistics.median(took_s), size


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
