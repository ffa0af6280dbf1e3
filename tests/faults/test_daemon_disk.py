"""The daemon's disk fails at the worst call: it leaves, and the next start goes on from what is there."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from monitor.core.model import GenerationStarted
from monitor.core.model.channel import RunAnnounced
from tests.harness.real_daemon import DaemonProcess, until
from tests.harness.trainer import FakeTrainer, announce

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace, which injects the fault, is not here")


def test_a_failed_sync_ends_the_daemon_with_70_and_a_restart_tells_once(tmp_path: Path) -> None:
    """After a failed sync nobody knows what is on disk, and SQLite would go on acknowledging."""
    announce(tmp_path, "night")
    with DaemonProcess(tmp_path) as daemon, FakeTrainer(tmp_path, "night", pid=os.getpid()) as trainer:
        trainer.allocate(os.getpid(), os.getpid())
        daemon.send(RunAnnounced("night"))
        daemon.send(GenerationStarted("night", 1, "n1", os.getpid(), os.getpid()))
        trainer.start()
        trainer.until_seen()
        with _first_sync_fails(daemon, tmp_path / "trace"):
            trainer.batches(5, nonfinite=5)
            assert daemon.wait(30.0) == 70
        assert "EIO" in (tmp_path / "trace").read_text(), "the fault must have fired"
        assert "disk I/O error" in daemon.output()
        daemon.start()
        trainer.batches(1)
        until("it goes on", lambda: daemon.json("/api/v1/runs/night")["summary"]["incident"])
        opened = 'trainwarden_incidents_total{family="nonfinite",run="night",severity="critical"}'
        assert daemon.metric(opened) == 1


@contextmanager
def _first_sync_fails(daemon: DaemonProcess, trace: Path) -> Iterator[None]:
    assert daemon.process is not None
    pid = daemon.process.pid
    asked = ["strace", "-f", "-qq", "-o", str(trace), "-p", str(pid), "-e", "trace=fdatasync"]
    with subprocess.Popen([*asked, "-e", "inject=fdatasync:error=EIO:when=1"]) as strace:
        try:
            until("strace holds it", lambda: "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text())
            yield
        finally:
            strace.terminate()
