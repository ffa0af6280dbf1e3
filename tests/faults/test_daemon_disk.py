"""The daemon's disk fails at the worst call: it leaves, and the next start goes on from what is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.real_daemon import DaemonProcess, until
from tests.harness.trainer import FakeTrainer, announce

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace, which injects the fault, is not here")


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_failed_sync_ends_the_daemon_with_70_and_a_restart_tells_once(tmp_path: Path, nth: int) -> None:
    """After a failed fsync nobody knows what is on disk, and SQLite would go on acknowledging."""
    announce(tmp_path, "night")
    started = {"number": 1, "nonce": "n1", "pid": os.getpid(), "shim_pid": os.getpid()}
    with DaemonProcess(tmp_path) as daemon, FakeTrainer(tmp_path, "night", pid=os.getpid()) as trainer:
        trainer.allocate(os.getpid(), os.getpid())
        daemon.post("/api/v1/runs", {"run": "night"})
        daemon.post("/api/v1/runs/night/generation-started", started)
        trainer.start()
        trainer.until_seen()
        assert daemon.process is not None
        inject = f"fdatasync:error=EIO:when={nth}"
        tracing = ["strace", "-f", "-qq", "-o", str(tmp_path / "trace"), "-p", str(daemon.process.pid)]
        with subprocess.Popen([*tracing, "-e", "trace=fdatasync", "-e", f"inject={inject}"], stderr=sys.stderr) as strace:
            until("strace holds it", lambda: _traced(daemon.process.pid if daemon.process else 0))
            for _ in range(6):
                trainer.batches(5, nonfinite=5)
                if daemon.process.poll() is not None:
                    break
            assert daemon.wait(30.0) == 70
            strace.wait(10.0)
        assert "EIO" in (tmp_path / "trace").read_text(), "the fault must have fired"
        assert "disk I/O error" in daemon.output()
        daemon.start()
        trainer.batches(1)
        until("it goes on", lambda: daemon.json("/api/v1/runs/night")["summary"]["incident"])
        opened = 'trainwarden_incidents_total{family="nonfinite",run="night",severity="critical"}'
        assert daemon.metric(opened) == 1


def _traced(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return "TracerPid:\t0\n" not in status
