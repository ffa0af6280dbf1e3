"""A CNN in a hand-written loop under `trainwarden run`: ruined, it is cured in its process; killed, it begins again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.harness.night_run import ROOT, Supervised, environment_of_home, fresh_home, trainwarden

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]

EPOCHS, BATCHES, AT = 4, 150, 240
NEAR = 3.0  # times the healthy loss, 0.01: an untrained net has 1.4, and a third of the batches may be lost
FAULTS = ("weights", "rate")
KILLED = "killed"
SCRIPT = """
import json, math, os, signal, sys, time
from pathlib import Path
import torch
from trainer_hooks.integrations.plain import watch

EPOCHS, BATCHES, AT = {epochs}, {batches}, {at}
fault, pause_s = sys.argv[1], float(sys.argv[2])
torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(4),
    torch.nn.Flatten(), torch.nn.Linear(128, 4),
)
labels = torch.arange(64) % 4
images = torch.randn(64, 1, 12, 12) + labels.view(-1, 1, 1, 1) * 0.5
optimizer = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * BATCHES)
average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.95))
loop = watch(model, optimizer, epochs=EPOCHS, batches_per_epoch=BATCHES, scheduler=scheduler, ema=average)
rates, fired, mark = [], 0, Path(__file__).with_name("fired")
epochs, batches = loop.resume()
for step in range(epochs * BATCHES + batches, EPOCHS * BATCHES):
    if fault == "killed" and step == AT and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    chosen = torch.randint(0, 64, (16,))
    loss = torch.nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
    optimizer.zero_grad()
    loss.backward()
    rate = optimizer.param_groups[0]["lr"]
    rates.append(rate)
    if fault == "rate" and AT <= step < AT + 5:
        fired += 1
        optimizer.param_groups[0]["lr"] = rate * 3000
    optimizer.step()
    optimizer.param_groups[0]["lr"] = rate
    if fault == "weights" and step == AT:
        fired += 1
        with torch.no_grad():
            model[5].weight[0, 0] = math.nan
    average.update_parameters(model)
    scheduler.step()
    time.sleep(pause_s)
    loop.batch(loss, epoch=1 + step // BATCHES)
loop.end()

def loss_of(net):
    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(net.eval()(images), labels))

print("RESULT " + json.dumps([loss_of(model), loss_of(average), fired, rates, float(torch.rand(()))]), flush=True)
"""


class Ended:
    """One of the trainings, after its end."""

    def __init__(self, shown: str) -> None:
        self.shown = shown
        line = next(line for line in shown.splitlines() if line.startswith("RESULT "))
        self.loss, self.average_loss, self.fired, self.rates, self.drawn = json.loads(line.removeprefix("RESULT "))


def script_in(home: Path) -> Path:
    script = home / "script.py"
    script.write_text(SCRIPT.format(epochs=EPOCHS, batches=BATCHES, at=AT))
    return script


@pytest.fixture(scope="module")
def homes() -> Iterator[dict[str, Path]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(fresh_home()) for name in ("healthy", KILLED, *FAULTS)}


@pytest.fixture(scope="module")
def ended(homes: dict[str, Path]) -> dict[str, Ended]:
    """A healthy one by itself, and the others at the same time."""
    policy = "version: 1\nsnapshots: {every_s: 0.5}\n"
    runs = {}
    for fault in (*FAULTS, KILLED):
        argv = [sys.executable, str(script_in(homes[fault])), fault, "0.02"]
        runs[fault] = Supervised(homes[fault], argv, run=fault, policy=policy)
    argv = [sys.executable, str(script_in(homes["healthy"])), "none", "0"]
    alone = subprocess.run(
        argv, env=environment_of_home(homes["healthy"]), cwd=ROOT, capture_output=True, text=True, check=True
    )
    for run in runs.values():
        assert run.wait() == 0, run.shown
    return {"healthy": Ended(alone.stdout)} | {fault: Ended(run.shown) for fault, run in runs.items()}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_ruined_loop_ends_near_the_healthy_loss_in_one_generation(
    ended: dict[str, Ended], homes: dict[str, Path], fault: str
) -> None:
    one, healthy = ended[fault], ended["healthy"]
    assert one.fired == {"weights": 1, "rate": 5}[fault], "the fault did not fire"
    assert one.loss < NEAR * healthy.loss
    assert one.average_loss < NEAR * healthy.average_loss
    assert one.shown.count("rolled back in its process: the state after batch ") >= 1
    assert "the training of " in one.shown
    found: dict[str, Any] = json.loads(trainwarden(homes[fault], "status", fault, "--json").stdout)
    assert (found["summary"]["generation"], found["trainings"][0]["batches"]) == (1, EPOCHS * BATCHES)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_counters_schedule_and_random_numbers_of_the_loop_are_its_own(ended: dict[str, Ended], fault: str) -> None:
    assert ended[fault].rates == ended["healthy"].rates
    assert ended[fault].drawn == ended["healthy"].drawn


def test_a_killed_loop_that_asks_where_to_start_ends_as_if_nothing_had_happened(
    ended: dict[str, Ended], homes: dict[str, Path]
) -> None:
    one, healthy = ended[KILLED], ended["healthy"]
    assert (homes[KILLED] / "fired").exists(), "the fault did not fire"
    assert "Generation 2 starts from batch " in one.shown
    assert 0 < len(one.rates) < EPOCHS * BATCHES
    assert "the return is proven: the first " in one.shown
    assert "losses are those of the same batches before" in one.shown
    assert one.rates == healthy.rates[-len(one.rates) :]
    assert (one.loss, one.average_loss, one.drawn) == (healthy.loss, healthy.average_loss, healthy.drawn)
    found: dict[str, Any] = json.loads(trainwarden(homes[KILLED], "status", KILLED, "--json").stdout)
    assert (found["summary"]["generation"], found["summary"]["state"]) == (2, "finished")
