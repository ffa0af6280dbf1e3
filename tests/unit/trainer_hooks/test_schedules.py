"""A rise of the rate by a factor of 3 and more is explained by the schedule, or reported: with schedulers of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from trainer_hooks.parameter_groups import readings
from trainer_hooks.recorder import schedules
from trainer_hooks.recorder.settings import CONSTANT_BATCHES, LoopSettings, SettingsWatch
from trainer_hooks.wire.messages import SettingChanged

AN_EPOCH = 80
Make = Callable[[Any], Any]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Watched:
    """An optimizer whose settings are watched batch by batch."""

    def __init__(self, make: Make | None = None, *, given: bool = True, rate: float = 0.01) -> None:
        self.optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=rate)
        self.scheduler = make(self.optimizer) if make else None
        self.watch = SettingsWatch(self.optimizer, self.scheduler if given else None)
        self.seen = 0
        self.changes: list[SettingChanged] = []

    def batches(self, count: int, *, step_every: int = 1, rate: Callable[[int], float] | None = None) -> None:
        for _ in range(count):
            if rate is not None:
                self.optimizer.param_groups[0]["lr"] = rate(self.seen)
            epoch, batch = divmod(self.seen, AN_EPOCH)
            now = readings(self.optimizer)
            self.changes += self.watch.changes(now, LoopSettings(), epoch=epoch + 1, batch=batch)
            self.seen += 1
            if self.scheduler is not None and self.seen % step_every == 0:
                self.scheduler.step()

    @property
    def unexplained(self) -> list[tuple[str, int, int]]:
        return [(c.name, c.epoch, c.batch) for c in self.changes if not c.reason]


SCHEDULERS: dict[str, Make] = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 40),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 300),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda step: 0.99**step),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 200),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=400),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=60), lr_scheduler.ExponentialLR(o, 0.995)], [60]
    ),
}


@pytest.mark.parametrize("given", [True, False], ids=["given to watch", "not given"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_rate_multiplied_by_hand_under_a_scheduler_is_unexplained(name: str, given: bool) -> None:
    watched = Watched(SCHEDULERS[name], given=given)
    watched.batches(100)
    assert watched.unexplained == []
    watched.optimizer.param_groups[0]["lr"] *= 30
    watched.batches(1)
    assert watched.unexplained == [("learning_rate/group0", 2, 20)]


@pytest.mark.parametrize("given", [True, False], ids=["given to watch", "not given"])
@pytest.mark.parametrize("name", ["LambdaLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "StepLR"])
def test_so_is_one_whose_base_in_the_scheduler_was_multiplied(name: str, given: bool) -> None:
    watched = Watched(SCHEDULERS[name], given=given)
    watched.batches(100)
    assert watched.scheduler is not None
    watched.scheduler.base_lrs = [base * 30 for base in watched.scheduler.base_lrs]
    for group in watched.optimizer.param_groups:
        group["lr"] *= 30
        group["initial_lr"] *= 30
    watched.batches(20)
    assert watched.unexplained == [("learning_rate/group0", 2, 20)]


@pytest.mark.parametrize("given", [True, False], ids=["given to watch", "not given"])
@pytest.mark.parametrize(
    "make",
    [
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 60, eta_min=1e-6),
        lambda o: lr_scheduler.LambdaLR(o, lambda step: 5.0 if step >= 100 else 1.0),
        lambda o: lr_scheduler.CyclicLR(o, 1e-4, 0.01, step_size_up=1, step_size_down=70, cycle_momentum=False),
    ],
    ids=["warm restarts", "a function that rises", "a sawtooth"],
)
def test_a_rise_that_the_scheduler_was_made_for_is_explained(make: Make, given: bool) -> None:
    watched = Watched(make, given=given)
    watched.batches(300)
    rates = [float(change.new) / float(change.old) for change in watched.changes]
    assert max(rates) >= schedules.RISE, "the rate never rose: this test shows nothing"
    assert watched.unexplained == []


def test_restarts_of_the_trainings_own_schedule_are_explained_from_the_second_on() -> None:
    watched = Watched()
    watched.batches(400, rate=lambda n: 0.01 * 0.95 ** (n % 100))
    assert watched.unexplained == [("learning_rate/group0", 2, 20)]
    watched.batches(1, rate=lambda _: 0.3)
    assert len(watched.unexplained) == 2


def test_a_rise_at_the_beginning_of_an_epoch_is_unexplained_too() -> None:
    watched = Watched()
    watched.batches(3 * AN_EPOCH, rate=lambda n: 0.01 if n < 2 * AN_EPOCH else 0.3)
    assert watched.unexplained == [("learning_rate/group0", 3, 0)]


def test_the_first_large_steps_of_a_warm_up_are_explained() -> None:
    watched = Watched()
    watched.batches(CONSTANT_BATCHES, rate=lambda n: 1e-6 if n < 5 else 1e-4 * min(n, 40))
    assert watched.unexplained == []


def test_a_scheduler_is_looked_for_a_few_times_only() -> None:
    watched = Watched()
    schedule = schedules.Schedule(watched.optimizer)
    watched.optimizer.param_groups[0]["initial_lr"] = 0.01
    schedule.look()
    for number in range(schedules.SEARCHES_MAX + 2):
        assert not schedule.explains(0, 2.0 ** (number + 1))
    assert schedule.searches == schedules.SEARCHES_MAX
