"""What the daemon knows of a process by its number alone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.core.model import GenerationDied, GenerationExited, Input, SupervisorChanged
from monitor.core.state.run import Fleet
from monitor.daemon.clock import SystemClock
from monitor.daemon.processes import SILENT_S, Processes
from tests.harness.clock import FakeClock
from tests.harness.simulation import supervised
from trainer_hooks.wire.document_io import write
from trainer_hooks.wire.run_documents import Exit, Generation
from trainer_hooks.wire.runfolder import ENV_HOME, run_folder


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


@pytest.mark.parametrize("resumed", [False, True])
def test_a_supervisor_that_resumes_a_run_after_a_reboot_is_not_taken_for_the_one_that_died(
    resumed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may wait for its plan for longer than the daemon waits before it says which runs died with the machine."""
    monkeypatch.setenv(ENV_HOME, str(tmp_path))
    training = supervised()
    training.restart(1)
    training.batch(1.0, 1.0)
    folder = run_folder("night")
    folder.create()
    write(folder.generation(1), Generation(number=1, nonce="n", allocated_by="supervisor", pid=1, boot_id="before"))
    clock, offered = FakeClock(training.now_s), list[Input]()
    if resumed:
        over = Exit(number=1, code=None, signal=None, ended_s=training.now_s)
        training.run.supervisor_pid = os.getpid()
        training.feed(GenerationDied("night", over, "", training.now_s + 15, "ada", with_machine=True))

    async def look() -> None:
        processes = Processes(lambda: Fleet(runs={"night": training.run}), clock, offered.append, lambda _: None)
        clock.advance(SILENT_S + 1)
        processes.look()
        processes.close()

    asyncio.run(look())
    assert [type(each) for each in offered] == ([] if resumed else [GenerationExited, SupervisorChanged])
