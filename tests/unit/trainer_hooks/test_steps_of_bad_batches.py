"""What is said of the step of a bad batch: taken where it was seen, skipped where that is sure, and else neither."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
import torch

from tests.harness.recorder import RecordingProbe
from tests.harness.simulation import Simulation
from trainer_hooks.integrations.plain import watch
from trainer_hooks.wire.messages import BatchEnded, Counts, Nonfinite, SkippedBy

Optimizer: TypeAlias = torch.optim.Optimizer
GOOD = 6  # batches before the bad one


def take(optimizer: Optimizer) -> None:
    optimizer.step()


def leave_out(optimizer: Optimizer) -> None:
    pass


def without_gradients(optimizer: Optimizer) -> None:
    optimizer.zero_grad()
    optimizer.step()


def zeroed(optimizer: Optimizer) -> None:
    for parameter in optimizer.param_groups[0]["params"]:
        parameter.grad.nan_to_num_(0.0)
    optimizer.step()


def by_hand(optimizer: Optimizer) -> None:
    """A step that no hook can see."""
    with torch.no_grad():
        for parameter in optimizer.param_groups[0]["params"]:
            parameter.sub_(0.01 * parameter.grad)


CASES: list[tuple[str, bool, Callable[[Optimizer], None], int, str]] = [
    ("weights that are NaN, step left out", True, leave_out, 0, ""),
    ("weights that are NaN, step taken", True, take, 1, ""),
    ("weights that are NaN, step by hand", True, by_hand, 0, ""),
    ("finite weights, step left out", False, leave_out, 1, SkippedBy.SCRIPT),
    ("finite weights, step taken", False, take, 1, ""),
    ("finite weights, step by hand", False, by_hand, 0, ""),
    ("finite weights, gradients made finite", False, zeroed, 1, ""),
    ("finite weights, no gradients", False, without_gradients, 1, ""),
]


def bad_batch(folder: Path, *, weights: bool, then: Callable[[Optimizer], None]) -> tuple[BatchEnded, BatchEnded]:
    """The batch before, and the bad one, of a loop written by hand."""
    torch.manual_seed(1)
    model, probe = torch.nn.Linear(4, 1), RecordingProbe(folder)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loop = watch(model, optimizer, epochs=1, batches_per_epoch=GOOD + 1, connect=lambda name: probe)
    for number in range(GOOD + 1):
        bad = number == GOOD
        if bad and weights:
            with torch.no_grad():
                model.weight[0, 0] = math.nan
        optimizer.zero_grad()
        loss = model(torch.rand(2, 4)).square().mean() * (math.nan if bad and not weights else 1.0)
        loss.backward()
        (then if bad else take)(optimizer)
        loop.batch(loss)
    loop.end()
    before, last = probe.batches[-2:]
    return before, last


@pytest.mark.parametrize(("weights", "then", "steps", "by"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_a_step_counts_where_it_was_taken_or_surely_skipped(
    weights: bool, then: Callable[[Optimizer], None], steps: int, by: str, tmp_path: Path
) -> None:
    before, last = bad_batch(tmp_path, weights=weights, then=then)
    assert last.nonfinite & Nonfinite.LOSS
    assert (last.counts.steps - before.counts.steps, last.skipped_by) == (steps, by)


SAID = [
    (Nonfinite.LOSS | Nonfinite.PARAMETER, 0, "", "no step seen"),
    (Nonfinite.LOSS | Nonfinite.PARAMETER, 1, "", "step taken"),
    (Nonfinite.LOSS, 1, "", "step taken"),
    (Nonfinite.LOSS, 0, "", "no step seen"),
    (Nonfinite.LOSS, 1, SkippedBy.SCRIPT, "step skipped by the script"),
    (Nonfinite.GRADIENT, 1, SkippedBy.GUARD, "step skipped"),
]


@pytest.mark.parametrize(("bits", "steps", "by", "said"), SAID)
def test_the_line_of_a_bad_batch_says_what_is_known_of_its_step(
    bits: Nonfinite, steps: int, by: str, said: str
) -> None:
    line = line_of(bits, steps, by, missed=0)
    assert f" not finite, {said}" in line
    assert line.count("step") == 1


def test_where_records_before_it_were_lost_the_step_is_not_known() -> None:
    line = line_of(Nonfinite.LOSS | Nonfinite.PARAMETER, 1, "", missed=3)
    assert "whether its step was taken is not known" in line


def line_of(bits: Nonfinite, steps: int, by: str, missed: int) -> str:
    """What is said of a bad batch after one good one."""
    simulation = Simulation(batches_per_epoch=100)
    for number, (bad, taken) in enumerate(((Nonfinite(0), 1), (bits, 1 + steps))):
        batches = 1 + number * (1 + missed)
        counts = Counts(batches=batches, steps=taken, nonfinite_batches=int(bool(bad)))
        loss = math.nan if bad else 1.0
        simulation.send(
            BatchEnded(
                0.0, 0.0, 1, batches - 1, 100, counts, loss=loss, nonfinite=int(bad), skipped_by=by if bad else ""
            )
        )
    (line,) = [message for message in simulation.messages if " not finite, " in message]
    return line
