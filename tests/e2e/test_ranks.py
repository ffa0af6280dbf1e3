"""A real DistributedDataParallel training of two processes (gloo on the CPU) under torchrun and `trainwarden run`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.night_run import ROOT, environment_of_home, processes_in, trainwarden

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]
torch = pytest.importorskip("torch")
if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
    pytest.skip("this torch has no gloo", allow_module_level=True)

EPOCHS, BATCHES, AT, KILLED_AT = 3, 40, 50, 60
POLICY = "detectors: {hang: {floor_s: 3}}\n"
SCRIPT = f"""
import math, os, signal, sys, time
import torch
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from trainer_hooks.integrations.plain import watch

fault = sys.argv[1]
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
torch.manual_seed(0)
x = torch.randn({BATCHES * 16}, 8)
data = TensorDataset(x, (x.sum(1, keepdim=True) > 0).float())
sampler = DistributedSampler(data)
loader = DataLoader(data, batch_size=8, sampler=sampler)
layers = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
model = DistributedDataParallel(layers)
optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
loop = watch(model, optimizer, epochs={EPOCHS}, batches_per_epoch=len(loader))
step = 0
for epoch in range(1, {EPOCHS} + 1):
    sampler.set_epoch(epoch)
    for inputs, wanted in loader:
        if step == {AT} and fault == "weight":
            with torch.no_grad():
                layers[0].weight[0, 0] = math.nan
        if rank == 1 and fault == "hang, then kill":
            if step == {AT}:
                time.sleep(12)
            if step == {KILLED_AT}:
                os.kill(os.getpid(), signal.SIGKILL)
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(inputs), wanted)
        loss.backward()
        optimizer.step()
        loop.batch(loss, epoch=epoch)
        time.sleep(0.02)
        step += 1
loop.end()
weights = sum(float(each.detach().double().sum()) for each in model.parameters())
sys.stdout.write(f"RESULT {{rank}} {{weights!r}}\\n")
torch.distributed.destroy_process_group()
"""
Train = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def train(tmp_path: Path, home: Path) -> Train:
    """Train with this fault, with and without trainwarden."""
    script, policy = tmp_path / "train.py", tmp_path / "policy.yaml"
    script.write_text(SCRIPT)
    policy.write_text(POLICY)
    ranks = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    ours = [sys.executable, "-c", "from _trainwarden import main; main()", "run", "--run", "ranks"]

    def run(fault: str, *, watched: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*([*ours, "--policy", str(policy), "--"] if watched else []), *ranks, fault],
            env=environment_of_home(home, PYTHONPATH=str(ROOT)),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


def results(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What both ranks say of their weights."""
    return sorted(line for line in done.stdout.splitlines() if line.startswith("RESULT "))


def test_two_ranks_are_one_training_and_end_with_the_weights_they_have_without_us(train: Train, home: Path) -> None:
    alone, watched = train("none", watched=False), train("none")
    assert (alone.returncode, watched.returncode) == (0, 0), watched.stderr
    assert len(results(alone)) == 2
    assert results(watched) == results(alone)
    assert f"0 non-finite of {EPOCHS * BATCHES} batches in all" in watched.stderr
    report = trainwarden(home, "report", "ranks").stdout
    assert "Device: cpu, 2 ranks." in report
    assert "Incidents: none" in report or "## Incidents" not in report


def test_a_damaged_one_leaves_no_rank_behind_and_ends_with_the_code_of_a_stop(train: Train, home: Path) -> None:
    done = train("weight")
    assert done.returncode == 75, done.stderr
    assert results(done) == []
    assert "there is no clean checkpoint" in done.stderr
    status = trainwarden(home, "status", "ranks").stdout
    assert "stopped" in status
    assert not [pid for pid in processes_in(home) if b"train.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_rank_that_stands_still_is_named_and_one_that_is_killed_ends_the_run(train: Train) -> None:
    done = train("hang, then kill")
    assert done.returncode == 1, "what torchrun says"
    assert "rank 1 stands in train.py" in done.stderr
    assert "rank 0 stands in" in done.stderr
    assert f"0 non-finite of {KILLED_AT} batches in all" in done.stderr
    assert "is not started again (there is no clean checkpoint)" in done.stderr
