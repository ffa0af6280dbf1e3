"""The announcer notices the death of a daemon when it dies."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.supervisor.announcer import Announcer
from monitor.supervisor.terminal import TerminalOutput


@pytest.fixture
def announcer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Announcer:
    monkeypatch.setenv("TRAINWARDEN_HOME", str(tmp_path))
    unused: TerminalOutput = io.StringIO()  # type: ignore[assignment] # it prints nothing here
    return Announcer("r", unused)


def test_it_wakes_when_the_daemon_dies_and_not_before(announcer: Announcer) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as daemon:
        announcer._wake_at_end_of(daemon.pid)
        assert not announcer._wake.wait(0.05)
        daemon.kill()
        assert announcer._wake.wait(10.0)


def test_a_daemon_that_cant_be_watched_is_left_to_the_heartbeat(announcer: Announcer) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    announcer._wake_at_end_of(gone.pid)
    assert not announcer._wake.is_set()
