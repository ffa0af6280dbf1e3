"""A change of the data that the user's code declares, from its one line to the daemon."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.core.model.channel import RunAnnounced
from tests.harness.real_daemon import DaemonProcess, until
from tests.harness.trainer import announce
from trainer_hooks.probe import boundary
from trainer_hooks.wire import document_io
from trainer_hooks.wire.run_documents import Generation

BATCHES = 400
TRAINING = f"""
import random, sys
import torch
from trainer_hooks.integrations.plain import watch
from trainer_hooks.probe import boundary, connect

model = torch.nn.Linear(2, 1)
loop = watch(model, torch.optim.SGD(model.parameters(), lr=0.1), epochs=1, batches_per_epoch={2 * BATCHES})
draw = random.Random(1)
for number in range({2 * BATCHES}):
    if number == {BATCHES} and sys.argv[1] == "declared":
        assert boundary("stage 2: long sequences")
    level = 1.0 if number < {BATCHES} else 2.5
    loop.batch(level * draw.uniform(0.97, 1.03), epoch=1, grad_norm=level * draw.uniform(0.9, 1.1), sequence_length=512)
assert connect().flush(20.0)
"""


@pytest.mark.parametrize("how", ["declared", "undeclared"])
def test_a_declared_boundary_is_no_spike_and_the_same_without_it_is_one(how: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder = announce(tmp_path, "night")
    with DaemonProcess(tmp_path) as daemon:
        daemon.send(RunAnnounced("night"))
        generation = Generation(number=1, nonce="n1", allocated_by="supervisor", supervisor_pid=os.getpid())
        document_io.write(folder.generation(1), generation)
        environment = {
            **os.environ, "TRAINWARDEN_HOME": str(tmp_path), "TRAINWARDEN_RUN": "night", "TRAINWARDEN_NONCE": "n1",
            "TRAINWARDEN_RUN_FOLDER": str(folder.root), "TRAINWARDEN_GENERATION": "1",
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        done = subprocess.run([sys.executable, "-c", TRAINING, how], env=environment, check=False, timeout=120)
        assert done.returncode == 0
        until("every batch arrived", lambda: daemon.json("/api/v1/runs/night")["summary"]["batches"] == 2 * BATCHES)
        told = daemon.get("/api/v1/runs/night/timeline").text
        assert ('"severity":"warning"' in told) == (how == "undeclared"), told


def test_in_a_process_that_nothing_watches_a_boundary_is_harmless() -> None:
    code = "from trainer_hooks.probe import boundary; assert boundary('x') is False"
    root = str(Path(__file__).resolve().parents[2])
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
    assert callable(boundary)
