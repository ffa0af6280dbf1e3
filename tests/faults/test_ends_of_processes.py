"""A child that trains is killed, a run that was taken over is killed, a loop that nothing watches: each is said."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.night_run import ROOT, Supervised, fresh_home, trainwarden
from trainer_hooks.wire.document_io import read
from trainer_hooks.wire.run_documents import Generation, RunOutcome, RunOver

LOOP = """
import os, signal, subprocess, sys, time
import torch
from trainer_hooks.integrations.plain import watch

def loop(batches, stop_at=None):
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    watched = watch(model, optimizer, epochs=1, batches_per_epoch=batches)
    for i in range(batches):
        loss = model(torch.ones(1, 4)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        watched.batch(loss)
        time.sleep(0.01)
        if i == stop_at:
            time.sleep(1.0)
            os.kill(os.getpid(), signal.SIGKILL)
    watched.end()

"""
CHILD = (
    LOOP
    + """
if len(sys.argv) > 1:
    loop(100, stop_at=50)
else:
    print("CHILD", subprocess.run([sys.executable, __file__, "child"]).returncode, flush=True)
    loop(100)
"""
)
FOREVER = LOOP + "loop(1_000_000)\n"
UNWATCHED = """
import time, torch
model = torch.nn.Linear(200, 200)
optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
began_s = time.monotonic()
while time.monotonic() - began_s < 10.0:
    optimizer.zero_grad()
    model(torch.ones(1, 200)).sum().backward()
    optimizer.step()
print("DONE", flush=True)
"""
OWN_HOOK = (
    LOOP
    + """
def hook(kind, error, trace):
    print("OWN HOOK", error, flush=True)

loop(10)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), 1e-3)
watched = watch(model, optimizer)
sys.excepthook = hook
watched.batch(1.0)
raise ValueError("a box of no size")
"""
)


@pytest.fixture
def home() -> Iterator[Path]:
    """Where everything of a user lies; whatever was started in it is ended."""
    with fresh_home() as folder:
        yield folder


def supervised(home: Path, script: str) -> Supervised:
    path = home / "train.py"
    path.write_text(script)
    return Supervised(home, [sys.executable, str(path)], options=["--observe"], PYTHONPATH=str(ROOT))


def test_a_child_that_is_killed_ends_its_training_and_nothing_else(home: Path) -> None:
    run = supervised(home, CHILD)
    assert run.wait() == 0, run.shown
    assert "CHILD -9" in run.shown
    assert "training 1 ended without a report: its process" in run.shown
    assert "0 non-finite of 151 batches in all" in run.shown
    assert "hang" not in run.shown
    shown = trainwarden(home, "status", run.run).stdout
    assert [line.split()[:2] for line in shown.splitlines() if line.split()[:1] in (["1"], ["2"])] == [
        ["1", "vanished"], ["2", "finished"],
    ]  # fmt: skip


def test_a_run_that_was_taken_over_and_is_killed_then_has_not_finished(home: Path) -> None:
    run = supervised(home, FOREVER)
    claim = run.folder.claim(1, 1)
    run.until("it trains", claim.exists, 90)
    run.kill_supervisor()
    run.adopt()
    run.until_says("Took over generation 1")
    os.kill(read(run.folder.generation(1), Generation).pid, signal.SIGKILL)
    assert run.wait() == 128 + signal.SIGKILL, run.shown
    assert "Generation 1 was killed: it reported no end" in run.shown
    assert read(run.folder.ended, RunOver).how == RunOutcome.FAILED


def test_a_loop_that_nothing_watches_is_reported_while_it_trains(home: Path) -> None:
    run = supervised(home, UNWATCHED)
    assert run.wait() == 0, run.shown
    said = run.shown.index("this script trains (")
    assert said < run.shown.index("DONE")
    assert run.shown.count("this script trains (") == 1
    assert "loop = watch(model, optimizer)" in run.shown


def test_a_loop_that_is_watched_is_not_reported(home: Path) -> None:
    run = supervised(home, LOOP + "loop(500)\n")
    assert run.wait() == 0, run.shown
    assert "this script trains (" not in run.shown


def test_an_exception_is_reported_also_where_the_script_has_a_hook_of_its_own_for_it(home: Path) -> None:
    run = supervised(home, OWN_HOOK)
    assert run.wait() == 1, run.shown
    assert "OWN HOOK a box of no size" in run.shown
    assert "ValueError: a box of no size, at " in run.shown
    assert run.shown.count("Traceback") == 0
    shown = trainwarden(home, "status", run.run).stdout
    assert [line.split()[:2] for line in shown.splitlines() if line.split()[:1] in (["1"], ["2"])] == [
        ["1", "finished"], ["2", "exception"],
    ]  # fmt: skip


CHILDREN = (
    LOOP
    + """
import multiprocessing

def child(number):
    if number == 2:
        model = torch.nn.Linear(4, 1)
        left = watch(model, torch.optim.SGD(model.parameters(), 1e-3))
        for _ in range(20):
            left.batch(1.0)
        return
    loop(20)
    if number == 1:
        os._exit(0)

if __name__ == "__main__":
    for number in range(3):
        process = multiprocessing.get_context("fork").Process(target=child, args=(number,))
        process.start()
        process.join()
    loop(20)
"""
)


def test_children_that_are_forked_and_end_properly_have_not_vanished(home: Path) -> None:
    """The first by `multiprocessing`, the second by os._exit right after its end, the third without saying its end."""
    run = supervised(home, CHILDREN)
    assert run.wait() == 0, run.shown
    assert "without a report" not in run.shown
    shown = trainwarden(home, "status", run.run).stdout
    rows = [line.split()[:2] for line in shown.splitlines() if line.split()[:1] and line.split()[0] in "1234"]
    assert [how for _, how in sorted(rows)] == ["finished", "finished", "exited", "finished"], shown
    assert "0 non-finite of 80 batches in all" in run.shown
