"""An order to go back is declined where the training has recovered by itself, and only there."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from trainer_hooks.recorder.assess import Counted
from trainer_hooks.recorder.healed import Healed, NotNeededError
from trainer_hooks.snapshots import model_tensors
from trainer_hooks.wire.messages import Nonfinite, SkippedBy

GOOD, BAD, DAMAGE = Nonfinite(0), Nonfinite.LOSS, Nonfinite.LOSS | Nonfinite.PARAMETER


class Training:
    """A net with BatchNorm, an optimizer with momentum, and what was counted of its batches."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.01, momentum=0.9)
        self.model(torch.randn(8, 3)).mean().backward()
        self.optimizer.step()
        self.counted = Counted()
        self.healed = Healed(self.counted)

    def batches(self, *bits: Nonfinite) -> None:
        for each in bits:
            self.counted.add(each, SkippedBy.NOBODY, stepped=True, overflow=False)

    def declines(self) -> str:
        try:
            self.healed.check(self.model, model_tensors(self.model), [self.optimizer])
        except NotNeededError as error:
            return str(error)
        return ""

    @torch.no_grad()
    def fill(self, tensor: torch.Tensor, value: float) -> None:
        tensor.fill_(value)


def test_it_is_declined_after_a_finite_batch_on_a_finite_state() -> None:
    training = Training()
    training.batches(GOOD, DAMAGE, DAMAGE)
    assert not training.declines(), "the last batch was bad"
    training.batches(GOOD)
    assert training.declines() == "weights, statistics, average and optimizer are finite, and so is the last batch"
    training.batches(GOOD, GOOD)
    assert training.declines().endswith("so are the last 3 batches")


NAN, ZERO = math.nan, 0.0
LEFT: dict[str, Callable[[Training], None]] = {
    "a weight is NaN": lambda t: t.fill(t.model[0].weight, NAN),  # type: ignore[index]
    "a statistic is NaN": lambda t: t.fill(t.model[1].running_var, NAN),  # type: ignore[index]
    "a momentum is NaN": lambda t: t.fill(t.optimizer.state[t.model[0].weight]["momentum_buffer"], NAN),  # type: ignore[index]
    "the variances were made zero": lambda t: t.fill(t.model[1].running_var, ZERO),  # type: ignore[index]
    "the weights were made zero": lambda t: [t.fill(each, ZERO) for each in t.model.parameters()],  # type: ignore[func-returns-value]
}


@pytest.mark.parametrize("left", LEFT)
def test_it_is_not_declined_where_the_state_is_no_better(left: str) -> None:
    training = Training()
    training.batches(DAMAGE, GOOD, GOOD)
    LEFT[left](training)
    assert not training.declines()


def test_damage_that_comes_back_is_not_declined_again() -> None:
    training = Training()
    training.batches(DAMAGE, GOOD)
    assert training.declines()
    training.batches(DAMAGE, GOOD)
    assert not training.declines()


def test_a_script_that_leaves_its_bad_steps_out_never_needs_it() -> None:
    training = Training()
    for _ in range(3):
        training.batches(BAD, GOOD)
        assert training.declines()


def test_a_state_that_torch_cannot_look_at_is_not_declined() -> None:
    """An order must reach the training also where an optimizer keeps its state in another way."""
    training = Training()
    training.batches(DAMAGE, GOOD)
    training.optimizer.state[training.model[0].weight]["sparse"] = torch.zeros(2, 2).to_sparse()
    assert not training.declines()
