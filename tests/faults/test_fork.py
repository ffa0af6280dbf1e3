"""What a forked child of a training (a DataLoader worker, say) does with the probe: nothing, and never hangs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.harness.receiver import Receiver, wait_for

CHILDREN = 150

PROGRAM = """
import os, sys, time
from tests.harness.records import batch, order, phase
from trainer_hooks.probe import connect

probe = connect(0)
for number in range({children}):
    for index in range(20):
        probe.batch(batch(index), urgent=True)
        probe.event(phase())
    child = os.fork()
    if child == 0:
        probe = connect(0)
        probe.batch(batch(1_000_000), urgent=True)
        probe.event(phase("child"))
        assert probe.order() is None
        probe.settle(order("child"), "applied", "", 1, 1, {{}})
        assert probe.flush(30.0)
        probe.close(30.0)
        if number % 2:
            os._exit(0)
        sys.exit(0)  # runs atexit and finalizers, of pyzmq too
    pid, status = os.waitpid(child, 0)
    assert status == 0, status
probe.batch(batch(999_999))
assert probe.flush(30.0)
print("finished")
"""


# From 3.12 on Python itself warns a main script that forks while other threads run, ours among them.
QUIET = ("-W", "ignore:This process:DeprecationWarning")


def test_forked_children_never_hang_and_never_speak() -> None:
    with tempfile.TemporaryDirectory(prefix="tw-") as home:
        (Path(home) / "run").mkdir()
        receiver = Receiver(Path(home) / "run" / "in.sock", Path(home) / "log")
        receiver.start()
        try:
            environment = {
                **os.environ,
                "TRAINWARDEN_HOME": home,
                "TRAINWARDEN_RUN": "night",
                "TRAINWARDEN_GENERATION": "1",
                "TRAINWARDEN_NONCE": "nonce",
            }
            done = subprocess.run(
                [sys.executable, *QUIET, "-c", PROGRAM.format(children=CHILDREN)],
                env=environment,
                capture_output=True,
                text=True,
                timeout=240,
                check=False,
            )
            assert (done.returncode, done.stdout, done.stderr) == (0, "finished\n", "")
            wait_for(lambda: 999_999 in receiver.numbers("batch"), "the parent's last record")
        finally:
            receiver.kill()
        assert receiver.numbers("batch").count(1_000_000) == 0
        assert max(receiver.numbers("event"), key=lambda seq: int(str(seq))) == 20 * CHILDREN + 1  # and its own end
        assert not (Path(home) / "runs" / "night" / "applied-child.json").exists()
