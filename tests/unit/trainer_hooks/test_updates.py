from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from trainer_hooks.steps import watched_step
from trainer_hooks.updates import ENV_EVERY, EVERY_STEPS, TENSORS_MAX, VALUES_MAX, UpdateSampler, sample, steps_between


def trained(model: torch.nn.Module, rate: float, steps: int, every: int) -> list[torch.Tensor | None]:
    """The ratio taken after each step of plain gradient descent."""
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    sampler = UpdateSampler(optimizer, every)

    def around(_optimizer: torch.optim.Optimizer) -> Callable[..., None]:
        sampler.steps_left -= 1
        if not sampler.steps_left:
            sampler.before()
        return lambda _: sampler.after()

    watched_step(optimizer).add(around)
    taken = []
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(4, 8)).square().mean().backward()
        optimizer.step()
        taken.append(sampler.ratio)
        sampler.ratio = None
    return taken


def test_the_ratio_is_the_change_of_the_weights_over_their_size() -> None:
    torch.manual_seed(1)
    model = torch.nn.Linear(8, 8, bias=False)
    before = model.weight.detach().clone()
    [ratio] = trained(model, 0.01, 1, 1)
    assert ratio is not None
    change = (model.weight.detach() - before).norm() / before.norm()
    assert float(ratio) == pytest.approx(float(change), rel=1e-5)


def test_one_step_in_so_many_is_sampled_and_taken_once() -> None:
    taken = trained(torch.nn.Linear(8, 8), 0.01, 12, 5)
    assert [index for index, ratio in enumerate(taken) if ratio is not None] == [4, 9]


def test_with_an_interval_of_nothing_none_is_sampled() -> None:
    assert trained(torch.nn.Linear(8, 8), 0.01, 12, 0) == [None] * 12


def test_the_weights_are_the_same_to_the_last_bit_with_and_without_it() -> None:
    weights = []
    for every in (0, 1):
        torch.manual_seed(7)
        model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8))
        trained(model, 0.1, 20, every)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        weights.append(torch.rand(3))  # and whoever draws after it draws the same
    assert torch.equal(weights[0], weights[2])
    assert torch.equal(weights[1], weights[3])


def test_what_is_sampled_is_bounded_and_is_a_view() -> None:
    model = torch.nn.Sequential(*[torch.nn.Linear(200, 200) for _ in range(30)])
    model(torch.ones(1, 200)).sum().backward()
    tensors = sample(torch.optim.SGD(model.parameters(), lr=0.1))
    assert len(tensors) == TENSORS_MAX
    assert all(0 < tensor.numel() <= VALUES_MAX for tensor in tensors)
    addresses = {parameter.data_ptr() for parameter in model.parameters()}
    assert all(tensor.data_ptr() in addresses for tensor in tensors)


def test_weights_in_another_memory_order_are_not_copied_whole() -> None:
    layer = torch.nn.Conv2d(64, 64, 3).to(memory_format=torch.channels_last)
    layer(torch.ones(1, 64, 8, 8)).sum().backward()
    [tensor] = sample(torch.optim.SGD(layer.parameters(), lr=0.1))
    assert tensor.data_ptr() == layer.weight.data_ptr()
    assert tensor.numel() <= VALUES_MAX


def test_a_step_without_gradients_gives_no_ratio() -> None:
    model = torch.nn.Linear(8, 8)
    sampler = UpdateSampler(torch.optim.SGD(model.parameters(), lr=0.1), 1)
    sampler.before()
    sampler.after()
    assert sampler.ratio is None


def test_half_precision_weights_are_measured_in_full() -> None:
    model = torch.nn.Linear(8, 8, bias=False).to(torch.bfloat16)
    model(torch.ones(4, 8, dtype=torch.bfloat16)).square().mean().backward()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    sampler = UpdateSampler(optimizer, 1)
    sampler.before()
    optimizer.step()
    sampler.after()
    ratio = sampler.ratio
    assert ratio is not None
    assert ratio.dtype == torch.float32
    assert math.isfinite(float(ratio))


@pytest.mark.parametrize(("text", "steps"), [("0", 0), ("50", 50), ("", EVERY_STEPS), ("-1", EVERY_STEPS), ("x", 500)])
def test_the_environment_sets_the_interval(text: str, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV_EVERY, text)
    assert steps_between() == steps
