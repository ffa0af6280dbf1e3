"""Over real processes: the identity rules can't be tested with anything else."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from monitor.supervisor.descendants import Descendants, clear
from monitor.supervisor.process import Handle, Stat, read_stat
from tests.harness.supervisor import eventually, kill_timeouts
from trainer_hooks.wire.runfolder import ENV_NONCE

NONCE = "nonce-of-this-test"
SLEEPS = "import time; time.sleep(600)"
HAS_A_CHILD = (
    f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPS!r}], env={{}}, start_new_session=True)"
)
BREEDS = (
    "import os, signal, subprocess, sys, time\n"
    "def again(*_):\n"
    "    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
    "    os._exit(0)\n"
    "signal.signal(signal.SIGTERM, again)\n"
    "print(flush=True)\n"
    "time.sleep(600)\n"
)


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes of a test, ended with it."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def start(started: list[subprocess.Popen[bytes]], code: str, nonce: str = NONCE) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, ENV_NONCE: nonce},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    started.append(process)
    return process


def descendants_of(root: subprocess.Popen[bytes]) -> Descendants:
    handle = Handle.take(root.pid)
    assert handle is not None
    return Descendants(handle, NONCE, adopting=False, ours=set)


def nothing() -> None:
    """Nobody to reap."""


def test_children_and_whoever_carries_the_nonce_belong_to_it(
    started: list[subprocess.Popen[bytes]],
) -> None:
    root = start(started, HAS_A_CHILD)
    elsewhere = start(started, SLEEPS)
    stranger = start(started, SLEEPS, nonce="of another launch")
    launch = descendants_of(root)
    pids = eventually("all three", lambda: len(found := {m.pid for m in launch.members()}) == 3 and found)
    assert {root.pid, elsewhere.pid} < pids
    assert stranger.pid not in pids
    clear(launch, kill_timeouts(), 0.0, nothing)
    assert stranger.poll() is None


def test_a_stopped_process_leaves_on_sigterm(started: list[subprocess.Popen[bytes]]) -> None:
    root = start(started, SLEEPS)
    os.kill(root.pid, signal.SIGSTOP)
    cleared = clear(descendants_of(root), kill_timeouts(), 0.0, nothing)
    assert (cleared.escalation, cleared.survivors) == ("SIGTERM", ())
    assert root.wait() == -signal.SIGTERM


def test_a_process_born_while_the_others_are_told_to_leave_is_told_too(started: list[subprocess.Popen[bytes]]) -> None:
    root = start(started, BREEDS)
    assert root.stdout is not None
    root.stdout.readline()
    launch = descendants_of(root)
    cleared = clear(launch, kill_timeouts(), 0.0, nothing)
    assert cleared.survivors == ()
    assert launch.members() == []


def test_all_that_leave_in_time_need_no_signal(started: list[subprocess.Popen[bytes]]) -> None:
    root = start(started, "import time; time.sleep(0.3)")
    assert clear(descendants_of(root), kill_timeouts(), 30.0, nothing).escalation == ""
    assert root.wait() == 0


def test_a_pid_that_names_another_process_by_now_is_not_held(started: list[subprocess.Popen[bytes]]) -> None:
    root = start(started, SLEEPS)
    launch = descendants_of(root)
    (member,) = eventually("the process", launch.members)
    reused = dataclasses.replace(member, start_ticks=member.start_ticks - 1)
    assert launch.hold(reused, {member.pid}) is None
    held = launch.hold(member, {member.pid})
    assert held is not None
    held.close()


def test_the_root_is_not_searched_for_by_its_pid_once_it_is_gone(started: list[subprocess.Popen[bytes]]) -> None:
    """Its pid may be somebody else's by then."""
    root = start(started, "")
    launch = descendants_of(root)
    root.wait()
    assert launch.members() == []


def test_a_signal_through_a_handle_whose_process_is_gone_reaches_nobody(started: list[subprocess.Popen[bytes]]) -> None:
    process = start(started, SLEEPS)
    handle = Handle.take(process.pid)
    assert handle is not None
    process.kill()
    process.wait()
    handle.send(signal.SIGKILL)
    assert handle.gone
    assert Handle.take(process.pid) is None
    handle.close()


def test_a_name_with_spaces_and_parentheses_is_read_whole() -> None:
    script = "import ctypes, time; ctypes.CDLL(None).prctl(15, b') Z 1 (', 0, 0, 0); print(flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = read_stat(process.pid)
        process.kill()
    assert isinstance(found, Stat)
    assert (found.name, found.parent) == (") Z 1 (", os.getpid())
    assert found.start_ticks / os.sysconf("SC_CLK_TCK") == pytest.approx(
        time.clock_gettime(time.CLOCK_BOOTTIME), abs=60
    )
