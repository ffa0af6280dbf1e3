"""A loop that steps with another optimizer from some batch on: that one is watched, saved and put back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from tests.unit.trainer_hooks.test_plain_going_back import Bench, differing, settings_of, snapshots_at_every_batch
from trainer_hooks.integrations.plain.successor import Successor
from trainer_hooks.steps import MARK
from trainer_hooks.wire.messages import HookTrouble, SettingChanged, SkippedBy
from trainer_hooks.wire.runfolder import ENV_SNAPSHOTS

__all__ = ["snapshots_at_every_batch"]  # used by every test here
OTHERS = {
    "of the same kind": lambda p: torch.optim.SGD(p, 0.02, momentum=0.9, nesterov=True, weight_decay=1e-4),
    "of another kind": lambda p: torch.optim.AdamW(p, 0.01),
    "with other groups": lambda p: torch.optim.Adam([{"params": [each]} for each in p], 0.01),
}


def with_another(folder: Path, make: Any = OTHERS["of another kind"]) -> Bench:
    """Three steps with the first optimizer, five with the other one."""
    bench = Bench(folder)
    for _ in range(3):
        bench.step()
    bench.optimizer = make(list(bench.model.parameters()))
    for _ in range(5):
        bench.step()
    return bench


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS.keys())
def test_it_is_read_from_its_third_step_on_and_the_change_has_a_reason(tmp_path: Path, make: Any) -> None:
    bench = with_another(tmp_path, make)
    steps = [record.counts.steps for record in bench.probe.batches]
    assert steps == [1, 2, 3, 3, 3, 4, 5, 6]
    rates = tuple(group["lr"] for group in bench.optimizer.param_groups)
    assert [record.learning_rates for record in bench.probe.batches][-3:] == [rates] * 3
    assert all(record.grad_norm is not None for record in bench.probe.batches[-3:])
    changed = [change for change in bench.probe.of(SettingChanged) if change.batch == 5]
    names = {change.name: (change.old, change.new) for change in changed}
    assert names.pop("optimizer") == ("SGD", type(bench.optimizer).__name__)
    assert len(names) == 1
    assert {change.reason for change in changed} == {"the training steps with another optimizer"}
    assert not bench.probe.of(HookTrouble)


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS.keys())
def test_a_state_that_was_saved_with_it_is_put_back_with_its_own(tmp_path: Path, make: Any) -> None:
    bench = with_another(tmp_path, make)
    expected = bench.state()
    for _ in range(2):
        bench.step()
    bench.order((0, 8))
    bench.step(step=lambda: (bench.optimizer.step(), bench.ruin()))
    assert bench.answer.outcome == "applied", bench.answer.detail
    assert differing(expected, bench.state()) == []
    bench.step()
    assert not bench.probe.of(HookTrouble)


def test_a_state_of_the_optimizer_before_is_not_put_into_it(tmp_path: Path) -> None:
    bench = with_another(tmp_path)
    expected = bench.state()
    bench.order((0, 2))
    bench.step(step=lambda: None)
    assert bench.answer.outcome == "refused"
    assert bench.answer.detail == "the training has taken another optimizer since that state was saved"
    assert [name for name in differing(expected, bench.state()) if name.startswith(("model", "optimizer"))] == []


def test_a_step_of_it_on_nan_is_not_said_to_be_left_out_by_the_script(tmp_path: Path) -> None:
    bench = with_another(tmp_path)
    bench.step(bad=True)
    assert bench.probe.batches[-1].skipped_by == str(SkippedBy.NOBODY)
    assert bench.probe.batches[-1].counts.steps == bench.probe.batches[-2].counts.steps + 1


def test_nothing_of_ours_stays_on_either_of_them(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    first = bench.optimizer
    bench.step()
    idle = torch.optim.SGD(bench.model.parameters(), 0.1)
    bench.optimizer = torch.optim.AdamW(bench.model.parameters(), 0.01)
    for _ in range(5):
        bench.step()
    assert not hasattr(idle.step, MARK), "it was found too, and never stepped"
    bench.loop.end()
    assert not any(hasattr(each.step, MARK) for each in (first, bench.optimizer))


class Wrapper(torch.optim.Optimizer):
    """As Accelerate's: it steps at every eighth call."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer, self.param_groups, self.calls = optimizer, optimizer.param_groups, 0

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.calls += 1
        if self.calls % 8 == 0:
            self.optimizer.step()


def test_what_wraps_the_optimizer_is_no_other_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    wrapper = Wrapper(bench.optimizer)
    for batch in range(24):
        bench.step(step=bench.optimizer.step if batch == 0 else wrapper.step)
    assert bench.probe.batches[-1].counts.steps == 1 + 23 // 8
    assert not hasattr(wrapper.step, MARK)


def test_until_its_first_step_a_loop_may_accumulate_for_long() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    successor = Successor(model, lambda _: None)
    for _ in range(3):
        for batch in range(60):
            successor.batch_ended(optimizer, stepped=batch == 59)
    assert successor.searches == 0


def test_a_loop_that_accumulates_is_never_searched_for() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    successor = Successor(model, lambda _: None)
    successor.batch_ended(optimizer, stepped=True)
    for _ in range(20):
        for batch in range(8):
            successor.batch_ended(optimizer, stepped=batch == 7)
    assert successor.searches == 1, "its first step came early; from then on its rhythm is known"


def test_with_another_optimizer_a_state_is_saved_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were saved before can't be put back any more."""
    monkeypatch.setenv(ENV_SNAPSHOTS, "600")
    bench = with_another(tmp_path)
    assert [save.extra_batches for _, save, _ in bench.probe.snapshots] == [6]


def test_a_state_is_saved_at_once_where_a_group_was_added_and_a_plan_holds_for_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the layers of a net are unfrozen one after the other."""
    monkeypatch.setenv(ENV_SNAPSHOTS, "600")
    bench = Bench(tmp_path, lambda p: torch.optim.SGD(list(p)[:2], 0.05, momentum=0.9), scheduler=None)
    bench.scheduler = lr_scheduler.ConstantLR(bench.optimizer, factor=1.0)
    bench.step()
    bench.optimizer.add_param_group({"params": list(bench.model.parameters())[2:], "lr": 0.01})
    bench.step()
    assert [save.extra_batches for _, save, _ in bench.probe.snapshots] == [2]
    expected = bench.state()
    bench.order((0, 2), settings=settings_of(bench.probe, 0.5))
    bench.step(step=lambda: (bench.optimizer.step(), bench.ruin()))
    assert bench.answer.outcome == "applied", bench.answer.detail
    assert differing(expected, bench.state()) == []
    bench.step()
    assert bench.probe.batches[-1].learning_rates == (0.025, 0.005)
    assert [group["lr"] for group in bench.optimizer.param_groups] == [0.05, 0.01]
