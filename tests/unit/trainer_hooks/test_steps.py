"""The step of an optimizer while it is guarded: the same to the last bit, and left out where a gradient is bad."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import pytest
import torch

from tests.harness.guarded_training import (
    MAKERS,
    NAN,
    Training,
    enabled_scaler,
    same,
)
from trainer_hooks import steps
from trainer_hooks.fail_open import FailOpen
from trainer_hooks.guard import Guard, watch_clipping
from trainer_hooks.wire.messages import HookTrouble, SkippedBy

VARIANTS: dict[str, dict[str, Any]] = {
    "bare": {},
    "clipped": {"clip": True},
    "accumulated": {"accumulate": 3},
    "scheduler made before": {"before": True},
    "scheduler made after": {"after": True},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", MAKERS)
def test_a_clean_training_is_the_same_to_the_last_bit(kind: str, variant: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a scheduler that misses its mark on the step warns
        bare = Training(kind, guarded=False, **VARIANTS[variant]).train()
        watched = Training(kind, guarded=True, **VARIANTS[variant]).train()
    assert same(bare.state(), watched.state())
    assert bare.losses == watched.losses
    assert (watched.skipped, watched.troubles) == ([], [])


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("clip", [False, True], ids=["bare", "clipped"])
def test_a_bad_step_leaves_weights_and_optimizer_as_if_it_had_not_come(kind: str, clip: bool) -> None:
    """BatchNorm goes back to its last backup, and is not compared."""
    training = Training(kind, guarded=True, bad=frozenset({7}), clip=clip).train(7)
    learned = [p.detach().clone() for p in training.model.parameters()]
    state = copy.deepcopy(training.optimizer.state_dict()["state"])
    torch.manual_seed(5)
    training.bad = frozenset({0})
    training.train(1)
    assert len(training.skipped) == 1
    assert same(learned, [p.detach() for p in training.model.parameters()])
    for key, before in state.items():
        now = training.optimizer.state_dict()["state"][key]
        tensors = [name for name, value in before.items() if isinstance(value, torch.Tensor)]
        assert all(torch.equal(before[name], now[name]) for name in tensors), f"{kind}: {tensors}"
    training.bad = frozenset()
    training.train(3)
    assert len(training.skipped) == 1, "the next step is taken"
    assert all(bool(torch.isfinite(value).all()) for value in training.state())
    assert training.troubles == []


@pytest.mark.parametrize("kind", MAKERS)
def test_after_a_step_that_was_left_out_the_gradients_are_there(kind: str) -> None:
    training = Training(kind, guarded=True, bad=frozenset({0})).train(1)
    assert training.skipped == [0]
    assert all(grad is not None and not bool(torch.isfinite(grad).all()) for grad in training.gradients)


def test_under_a_scaler_a_clean_training_is_the_same_and_a_bad_step_is_the_scalers() -> None:
    bare = Training("SGD", guarded=False, scaler=True).train()
    watched = Training("SGD", guarded=True, scaler=True).train()
    assert same(bare.state(), watched.state())
    bad = Training("SGD", guarded=True, scaler=True, bad=frozenset({4})).train()
    assert bad.skipped == [4]
    assert all(bool(torch.isfinite(value).all()) for value in bad.state())
    assert "step" not in vars(bad.scaler)


def guarded(optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> tuple[Guard, list[HookTrouble]]:
    troubles: list[HookTrouble] = []
    return Guard(model, optimizer, None, FailOpen(troubles.append)), troubles


def test_a_script_that_repairs_its_gradients_after_the_clip_keeps_its_step() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    guard, _ = guarded(optimizer, model)
    watch_clipping()
    model(torch.tensor([[1.0, NAN]])).sum().backward()
    before = model.weight.detach().clone()
    guard.enter(None, None)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for parameter in model.parameters():
        assert parameter.grad is not None
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    guard.leave()
    guard.settle()
    report = guard.take()
    assert (report.skipped_by, report.stepped) == (SkippedBy.NOBODY, True)
    assert torch.equal(model.weight, before - 0.1)


def test_gradients_that_turn_bad_after_the_clip_are_found_at_the_step() -> None:
    """A second backward pass, or noise that the script adds: the norm that the clip found is of other gradients."""
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    guard, _ = guarded(optimizer, model)
    watch_clipping()
    guard.enter(None, None)
    model(torch.ones(1, 2)).sum().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    model(torch.tensor([[1.0, NAN]])).sum().backward()
    optimizer.step()
    guard.leave()
    guard.settle()
    assert guard.take().skipped_by == SkippedBy.GUARD
    assert bool(torch.isfinite(model.weight).all())


def test_a_norm_too_large_for_its_type_is_no_bad_gradient() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-30)
    guard, _ = guarded(optimizer, model)
    (model(torch.ones(1, 2)).sum() * 1e30).backward()
    optimizer.step()
    assert guard.report.skipped_by == SkippedBy.NOBODY


def test_a_gradient_with_one_nan_is_named_though_the_clip_makes_all_of_them_nan() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Linear(4, 4), torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    guard, _ = guarded(optimizer, model)
    watch_clipping()
    model(torch.ones(1, 2)).sum().backward()
    assert model[1].bias.grad is not None
    model[1].bias.grad[2] = NAN
    guard.enter(None, None)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    guard.leave()
    guard.settle()
    report = guard.take()
    assert report.bad_gradient in ("1.bias", ""), "an older torch clips in one go, and nobody can tell"
    assert bool(report.bad_gradient) == hasattr(torch.nn.utils.clip_grad, "_clip_grads_with_norm_")


def test_the_name_is_of_the_first_bad_gradient_that_the_backward_pass_came_to() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Linear(4, 4), torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    guard, _ = guarded(optimizer, model)
    hidden = model[1](model[0](torch.ones(1, 2)))
    hidden.register_hook(lambda grad: grad * NAN)
    model[2](hidden).sum().backward()
    optimizer.step()
    assert guard.report.bad_gradient == "1.bias"


def test_statistics_that_were_bad_are_named_however_many_times_the_step_clips() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    guard, _ = guarded(optimizer, model)
    watch_clipping()
    inputs = torch.ones(2, 4)
    inputs[0, 0] = NAN
    loss = model(inputs).sum()
    loss.backward()
    guard.enter(loss, None)
    for _ in range(3):
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    guard.leave()
    guard.settle()
    report = guard.take()
    assert (report.skipped_by, report.bad_buffer) == (SkippedBy.GUARD, "1.running_mean")


@pytest.mark.parametrize("clips", [True, False])
def test_a_script_that_finds_the_nan_and_skips_is_counted_as_that_and_its_statistics_are_restored(clips: bool) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    guard, _ = guarded(optimizer, model)
    watch_clipping()
    inputs = torch.ones(2, 4)
    inputs[0, 0] = NAN
    loss = model(inputs).sum()
    loss.backward()
    guard.enter(loss, None)
    if clips:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    assert math.isnan(norm), "the script sees what it would see without us"
    optimizer.zero_grad()
    guard.leave()
    guard.settle()
    report = guard.take()
    assert (report.skipped_by, report.stepped, report.bad_buffer) == (SkippedBy.SCRIPT, True, "1.running_mean")
    assert guard.examine().clean


@pytest.mark.parametrize("damaged", [True, False])
def test_of_a_script_that_skips_it_is_known_whether_the_parameters_were_damaged_before(damaged: bool) -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    guard, _ = guarded(optimizer, model)
    if damaged:
        model.weight.data[0, 0] = NAN
    loss = model(torch.tensor([[1.0, NAN]])).sum()
    loss.backward()
    guard.enter(loss, None)
    optimizer.zero_grad()
    guard.leave()
    guard.settle()
    report = guard.take()
    assert (report.skipped_by, report.damaged_before) == (SkippedBy.SCRIPT, damaged)
    assert bool(torch.isfinite(model.weight).all()) is not damaged


def test_a_step_taken_while_the_scaler_is_passed_by_is_judged() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    guard = Guard(model, optimizer, enabled_scaler(), FailOpen(lambda _: None))
    model(torch.tensor([[1.0, NAN]])).sum().backward()
    guard.enter(None, None)
    optimizer.step()
    guard.leave()
    guard.settle()
    assert guard.take().skipped_by in (SkippedBy.GUARD, SkippedBy.SCALER)
    assert bool(torch.isfinite(model.weight).all())


def test_two_optimizers_of_one_model_are_judged_each() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    first = torch.optim.SGD(model[0].parameters(), lr=0.1)
    first.second = torch.optim.SGD(model[1].parameters(), lr=0.1)  # type: ignore[attr-defined]
    guard, _ = guarded(first, model)
    model(torch.ones(1, 2)).sum().backward()
    assert model[1].weight.grad is not None
    model[1].weight.grad.fill_(NAN)
    before = model[0].weight.detach().clone()
    first.step()
    assert guard.report.skipped_by == SkippedBy.NOBODY
    first.second.step()  # type: ignore[attr-defined]
    assert guard.take().skipped_by == SkippedBy.GUARD
    assert not torch.equal(model[0].weight, before)
    assert bool(torch.isfinite(model[1].weight).all())


def test_a_sparse_gradient_is_judged_too() -> None:
    model = torch.nn.Embedding(8, 2, sparse=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    guard, troubles = guarded(optimizer, model)
    model(torch.tensor([1, 2])).sum().backward()
    optimizer.step()
    assert guard.take().skipped_by == SkippedBy.NOBODY
    optimizer.zero_grad()
    (model(torch.tensor([1, 2])).sum() * NAN).backward()
    optimizer.step()
    assert guard.take().skipped_by == SkippedBy.GUARD
    assert bool(torch.isfinite(model.weight).all())
    assert troubles == []


def test_watching_again_and_again_leaves_one_function_on_the_step_and_the_end_leaves_none() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    plain = optimizer.step
    for _ in range(3):
        watched = steps.watched_step(optimizer)
        assert steps.watched_step(optimizer) is watched
        watched.add(print)
        watched.remove(print)
        steps.release(optimizer)
        assert "step" not in vars(optimizer)
    assert optimizer.step == plain


def test_under_a_scheduler_that_came_later_a_released_step_idles_and_is_used_again() -> None:
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    watched = steps.watched_step(optimizer)
    calls: list[Any] = []
    watched.add(calls.append)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    watched.remove(calls.append)
    steps.release(optimizer)
    parameter.grad = torch.ones(1)
    optimizer.step()
    assert calls == []
    assert steps.watched_step(optimizer) is watched
    watched.add(calls.append)
    optimizer.step()
    assert calls == [optimizer]


@pytest.mark.parametrize("acts", [True, False])
def test_weights_that_a_script_moves_by_a_bad_gradient_before_it_calls_the_optimizer_are_put_back(acts: bool) -> None:
    """SAM in a trainer's own optimizer_step: to NaN and back is NaN."""
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    guard = Guard(model, optimizer, None, FailOpen(lambda _: None), acts=acts)
    before = model.weight.detach().clone()
    loss = model(torch.tensor([[1.0, NAN]])).sum()
    loss.backward()
    guard.enter(loss, None)
    for sign in (1, -1):
        with torch.no_grad():
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter.add_(parameter.grad, alpha=0.05 * sign)
    assert bool(model.weight.isnan().any()), "the script sees what it did"
    optimizer.step()
    guard.leave()
    guard.settle()
    assert torch.equal(model.weight, before) == acts
    assert guard.examine().clean == acts
