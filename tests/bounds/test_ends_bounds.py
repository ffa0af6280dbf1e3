"""The limits of what is read of a training at its end, or while nothing watches it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.harness.recorder import RecordingProbe
from tests.harness.records import batch, order, phase
from trainer_hooks import unwatched
from trainer_hooks.integrations.plain import watch
from trainer_hooks.integrations.plain.arguments import INNER_MAX, NoOptimizer, optimizer_of
from trainer_hooks.integrations.plain.loop import STOPS_RAISED_MAX
from trainer_hooks.outbox import NEWEST_LOOKED_AT_MAX, Outbox
from trainer_hooks.unwatched import FRAMES_MAX


@pytest.mark.parametrize("behind", [NEWEST_LOOKED_AT_MAX - 1, NEWEST_LOOKED_AT_MAX])
def test_the_newest_batch_is_found_behind_so_many_events_and_not_behind_more(behind: int) -> None:
    outbox, made = Outbox(), batch()
    outbox.batch(lambda: made)
    for _ in range(behind):
        outbox.event(phase())
    assert outbox.newest() == (made if behind < NEWEST_LOOKED_AT_MAX else None)


class Wrapper:
    """One more around an optimizer."""

    def __init__(self, inner: Any) -> None:
        self.optimizer, self.param_groups = inner, inner.param_groups


@pytest.mark.parametrize("wrappers", [INNER_MAX, INNER_MAX + 1])
def test_an_optimizer_is_found_in_so_many_wrappers_and_no_loop_of_them_is_endless(wrappers: int) -> None:
    real: Any = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    given = real
    for _ in range(wrappers):
        given = Wrapper(given)
    assert (optimizer_of(given)[0] is real) == (wrappers == INNER_MAX)
    own: Any = NoOptimizer()
    own.optimizer = own
    assert optimizer_of(own)[0] is own


def test_a_stop_is_raised_so_often_and_then_no_more(tmp_path: Path) -> None:
    probe = RecordingProbe(tmp_path)
    model = torch.nn.Linear(1, 1)
    loop = watch(model, torch.optim.SGD(model.parameters(), lr=0.1), connect=lambda _: probe)
    probe.orders = {1: order("o1")}
    raised = 0
    for _ in range(STOPS_RAISED_MAX + 5):
        try:
            loop.batch(1.0)
        except SystemExit:
            raised += 1
    assert raised == STOPS_RAISED_MAX


@pytest.mark.parametrize("deep", [0, FRAMES_MAX])
def test_a_step_is_looked_for_in_so_many_frames(deep: int) -> None:
    """A step calls back into this file from a frame of torch.optim; the deeper it lies, the longer the way to it."""
    found: list[str] = []

    def under(frames: int) -> None:
        if frames:
            under(frames - 1)
        else:
            found.append(unwatched._caller(unwatched.sys._getframe()))

    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)

    def closure() -> torch.Tensor:
        under(deep)
        return parameter.sum()

    optimizer.step(closure)
    assert bool(found[0]) == (deep == 0)
