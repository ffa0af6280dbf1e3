"""What the daemon knows of a process by its number alone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from monitor.core.state.run import Fleet
from monitor.daemon.clock import SystemClock
from monitor.daemon.processes import Processes


def lives(pid: int) -> bool:
    async def asked() -> bool:
        processes = Processes(Fleet, SystemClock(), lambda _: None, lambda _: None)
        found = processes._lives(pid)
        processes.close()
        return found

    return asyncio.run(asked())


@pytest.fixture
def child() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


def test_a_process_that_died_and_was_not_waited_for_is_dead(child: subprocess.Popen[bytes]) -> None:
    assert lives(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is dead, and still has its number
    assert not lives(child.pid)
    child.wait()
    assert not lives(child.pid)
