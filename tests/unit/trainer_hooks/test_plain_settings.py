"""Which changes of a setting in a hand-written loop are explained, and by what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from tests.harness.plain_bench import BATCHES, Bench
from trainer_hooks.wire.messages import (
    HookTrouble,
    SettingChanged,
)

SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 25),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [70, 100]),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.98),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 50),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 40),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=3 * BATCHES),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.001, 0.1, step_size_up=20, cycle_momentum=False),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 0.1, total_iters=90),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.1, total_iters=90),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, 90),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda step: 1.0 if step < 90 else 3.0),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda step: 0.99),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o, 0.1, total_iters=70), lr_scheduler.ExponentialLR(o, 0.99)], [70]
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("every_batch", [True, False], ids=["each batch", "each epoch"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_scheduler_of_torch_is_a_change_that_nothing_explains(name: str, every_batch: bool, tmp_path: Path) -> None:
    """Nobody reports it to the guard: what it leaves in the parameter groups is enough."""
    bench = Bench(tmp_path, scheduler=SCHEDULERS[name])
    bench.train(move=lambda n: bench.scheduler.step() if every_batch or (n + 1) % BATCHES == 0 else None)
    assert not bench.unexplained
    assert not bench.probe.of(HookTrouble)


def test_a_plateau_scheduler_in_the_middle_of_an_epoch_is_explained(tmp_path: Path) -> None:
    bench = Bench(tmp_path, scheduler=lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0, threshold=1e9))
    bench.train(move=lambda n: bench.scheduler.step(1.0) if n % 70 == 69 else None)
    assert bench.last.learning_rates[0] < 0.01
    assert not bench.unexplained


def test_a_rate_that_a_function_sets_each_step_is_a_schedule(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    def warm_up_then_decay(number: int) -> None:
        bench.optimizer.param_groups[0]["lr"] = 0.01 * min(number / 80, 1.0, 80 / (number + 1))

    bench.train(move=warm_up_then_decay)
    assert not bench.unexplained


def test_a_rate_divided_by_ten_by_hand_is_explained_and_one_raised_by_ten_is_not(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    def by_hand(number: int) -> None:
        factor = {50: 0.1, 110: 10.0}.get(number, 1.0)
        bench.optimizer.param_groups[0]["lr"] *= factor

    bench.train(move=by_hand)
    told = bench.probe.of(SettingChanged)
    assert [(change.old, change.reason) for change in told] == [("0.01", "lowered by the training"), ("0.001", "")]
    assert (bench.unexplained[0].name, bench.unexplained[0].epoch) == ("learning_rate/group0", 2)


def test_momentum_decay_clip_and_accumulation_changed_within_an_epoch_are_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path, optimizer=lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9))
    bench.step(clip_norm=1.0, accumulate=1)
    group = bench.optimizer.param_groups[0]
    group["momentum"], group["weight_decay"] = 0.5, 0.1
    bench.step(clip_norm=5.0, accumulate=4)
    assert sorted((c.name, c.old, c.new) for c in bench.unexplained) == [
        ("accumulate", "1", "4"),
        ("clip_norm", "1.0", "5.0"),
        ("momentum/group0", "0.9", "0.5"),
        ("weight_decay/group0", "0.0", "0.1"),
    ]


def test_the_same_at_the_beginning_of_an_epoch_is_explained(tmp_path: Path) -> None:
    bench = Bench(tmp_path, optimizer=lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9))
    bench.step(clip_norm=1.0)
    bench.optimizer.param_groups[0]["momentum"] = 0.5
    bench.step(epoch=2, clip_norm=5.0)
    assert not bench.unexplained
    assert {change.reason for change in bench.probe.of(SettingChanged)} == {"first batch of an epoch"}


def test_added_parameter_groups_and_a_growing_batch_are_told_with_their_reason(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.step()
    bench.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(2))], "lr": 0.5})
    for size in (2, 1, 2, 4, 4, 4, 4):
        bench.step(batch_size=size)
    assert [(c.name, c.old, c.new) for c in bench.probe.of(SettingChanged)] == [
        ("parameter_groups", "1", "2"),
        ("batch_size", "2", "4"),
    ]
    assert not bench.unexplained
