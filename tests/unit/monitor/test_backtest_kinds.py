"""A fault is found in a log however its rows are numbered: many runs in one file, several writers, steps that reset."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator

import pytest

from monitor.core.model import Severity
from monitor.core.policy.settings import Policy
from monitor.recorded.backtest import Result, backtest
from monitor.recorded.importers import read_log

RUNS, WRITERS, EPOCHS, PER_EPOCH = 260, 2, 30, 50
TIMES = 5.0


def loss(step: int, draw: random.Random) -> float:
    return 2.3 * math.exp(-step / 150) + 0.3 + draw.gauss(0.0, 0.02)


def runs_and_then_nan(draw: random.Random) -> Iterator[str]:
    """Hundreds of short runs in one file, and the last one comes to nothing."""
    for _ in range(RUNS):
        yield from (f"epoch 1 iter {step} loss {loss(step, draw):.4f}" for step in range(10))
    yield from (f"epoch 9 iter {step} loss nan" for step in range(10, 110))


def two_writers(draw: random.Random) -> Iterator[str]:
    """The second one is a step behind; from step 700 on the loss is five times as high."""
    for newest in range(1, 900):
        for step in (newest, max(newest - 1, 1)):
            high = TIMES if step >= 700 else 1.0
            yield json.dumps({"step": step, "loss": round(high * loss(step, draw), 4)})


def steps_that_reset(draw: random.Random) -> Iterator[str]:
    """The iteration begins anew with each epoch, and nothing names the epoch."""
    for epoch in range(EPOCHS):
        high = TIMES if epoch > 20 else 1.0
        yield from (f"iter {step} loss {high * loss(epoch * PER_EPOCH + step, draw):.4f}" for step in range(PER_EPOCH))


def judged(lines: Iterator[str], name: str) -> Result:
    return backtest(read_log("\n".join([*lines, ""]).encode(), name), Policy())


KINDS = [
    (runs_and_then_nan, "many.log", RUNS * 10),
    (two_writers, "two.jsonl", 2 * 699),
    (steps_that_reset, "resets.log", 21 * PER_EPOCH),
]


@pytest.mark.parametrize(("write", "name", "began"), KINDS, ids=[kind[1] for kind in KINDS])
@pytest.mark.parametrize("seed", [7, 8, 9])
def test_a_fault_is_critical_and_dated_to_where_it_began(write: object, name: str, began: int, seed: int) -> None:
    assert callable(write)
    result = judged(write(random.Random(seed)), name)
    critical = [fired for fired in result.fired if fired.severity is Severity.CRITICAL]
    assert critical, "nothing critical was found"
    assert critical[0].row - began <= 60
    assert abs(critical[0].since_row - began) <= 5


@pytest.mark.parametrize("write", [two_writers, steps_that_reset])
def test_the_same_log_without_its_fault_raises_no_alarm(write: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.TIMES", 1.0)
    assert callable(write)
    result = judged(write(random.Random(7)), "x.jsonl" if write is two_writers else "x.log")
    assert [fired for fired in result.fired if fired.severity is not Severity.INFO] == []
