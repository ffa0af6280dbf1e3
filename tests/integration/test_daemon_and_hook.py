"""The real hook's link against the real daemon."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from monitor.core.model import CommandGiven, CommandKind
from monitor.core.model.channel import RunAnnounced
from tests.harness.real_daemon import DaemonProcess, until
from tests.harness.trainer import announce
from trainer_hooks.wire import document_io
from trainer_hooks.wire.run_documents import Generation

HOOK = """
import sys
from pathlib import Path
from tests.harness.trainer import batch, training_started
from trainer_hooks.probe import connect
from trainer_hooks.wire.messages import Counts, TrainingEnded

probe = connect(0)
probe.event(training_started(probe.identity.folder))
for i in range(1, 501):
    probe.batch(batch(Counts(batches=i, steps=i)))
print("flushed", probe.flush(20.0), flush=True)
order = None
sys.stdin.readline()
while order is None:
    order = probe.order()
probe.settle(order, "applied", "left the loop", 5, 99, {})
probe.event(TrainingEnded(0.0, "order", "stopped", 5, {}))
print("flushed", probe.flush(20.0), flush=True)
probe.close()
"""


def test_the_hooks_link_delivers_obeys_and_forgets(tmp_path: Path) -> None:
    folder = announce(tmp_path, "night")
    with DaemonProcess(tmp_path) as daemon:
        daemon.send(RunAnnounced("night"))
        environment = {
            **os.environ, "TRAINWARDEN_HOME": str(tmp_path), "TRAINWARDEN_RUN": "night", "TRAINWARDEN_NONCE": "n1",
            "TRAINWARDEN_RUN_FOLDER": str(folder.root), "TRAINWARDEN_GENERATION": "1",
        }  # fmt: skip
        document_io.write(
            folder.generation(1),
            Generation(number=1, nonce="n1", allocated_by="supervisor", supervisor_pid=os.getpid()),
        )
        root = str(Path(__file__).resolve().parents[2])
        with subprocess.Popen(
            [sys.executable, "-c", HOOK],
            env={**environment, "PYTHONPATH": root},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as hook:
            assert hook.stdout is not None
            assert hook.stdin is not None
            assert hook.stdout.readline() == b"flushed True\n"
            until("every batch arrived", lambda: daemon.json("/api/v1/runs/night")["summary"]["batches"] == 500)
            daemon.send(CommandGiven("night", CommandKind.STOP, "the test"))
            hook.stdin.write(b"go\n")
            hook.stdin.flush()
            assert hook.stdout.readline() == b"flushed True\n"
            applied = 'trainwarden_orders_total{kind="stop",outcome="applied",run="night"}'
            until("the order is answered", lambda: daemon.metric(applied) == 1)
            assert hook.wait(20) == 0
        assert len(list(folder.root.glob("applied-*.json"))) == 1
