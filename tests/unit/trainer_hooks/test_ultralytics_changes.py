"""A real optimizer with a real schedule, driven as the trainer of Ultralytics drives its own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trainer_hooks.integrations.ultralytics.changes import TrainerSettingsWatch
from trainer_hooks.integrations.ultralytics.signals import mixes_images
from trainer_hooks.parameter_groups import readings
from trainer_hooks.wire.messages import SettingChanged

GROUPS = ("weight", "bn", "bias")
BATCHES = 10


class Driven:
    """What TrainerSettingsWatch reads of a trainer, over a few epochs of a linear schedule."""

    def __init__(self) -> None:
        parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in GROUPS]
        groups: Any = [{"params": [p], "param_group": name} for p, name in zip(parameters, GROUPS, strict=True)]
        self.optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.9)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda epoch: 1.0 - epoch / 10)
        arguments = SimpleNamespace(imgsz=640, mosaic=1.0, close_mosaic=2, time=None, mixup=0.0)
        self.trainer: Any = SimpleNamespace(
            optimizer=self.optimizer, scheduler=self.scheduler, args=arguments, batch_size=16, accumulate=4, epochs=6,
            epoch=0, train_loader=SimpleNamespace(dataset=SimpleNamespace(mosaic=True)),
        )  # fmt: skip
        self.watch = TrainerSettingsWatch(GROUPS)
        self.clip_norm = 10.0

    def batch(self, number: int = 0, *, warming: bool = False) -> list[SettingChanged]:
        return self.watch.changes(
            self.trainer, readings(self.optimizer), batch=number, clip_norm=self.clip_norm,
            mixing=mixes_images(self.trainer), warming=warming,
            planned=False,
        )  # fmt: skip

    def next_epoch(self) -> None:
        self.trainer.epoch += 1
        self.optimizer.step()
        self.scheduler.step()


def told(changes: list[SettingChanged]) -> list[tuple[str, str]]:
    return [(change.name, change.reason) for change in changes]


@pytest.fixture
def driven() -> Driven:
    made = Driven()
    assert made.batch() == []
    return made


def test_a_schedule_that_is_followed_over_every_epoch_is_no_change(driven: Driven) -> None:
    for _ in range(3):
        driven.next_epoch()
        assert told(driven.batch(0)) == []
        assert told(driven.batch(1)) == []


def test_a_rate_that_is_not_the_schedules_at_the_beginning_of_an_epoch_is_unexplained(driven: Driven) -> None:
    driven.next_epoch()
    driven.optimizer.param_groups[2]["lr"] = 0.05
    assert told(driven.batch()) == [("learning_rate/bias", "")]
    assert told(driven.batch(1)) == []


def test_rates_whose_base_in_the_schedule_was_multiplied_are_unexplained_once(driven: Driven) -> None:
    driven.next_epoch()
    assert told(driven.batch()) == []
    driven.scheduler.base_lrs = [30 * rate for rate in driven.scheduler.base_lrs]
    for group in driven.optimizer.param_groups:
        group["lr"] *= 30
        group["initial_lr"] *= 30
    driven.next_epoch()
    assert told(driven.batch()) == [(f"learning_rate/{name}", "") for name in GROUPS]
    driven.next_epoch()
    assert told(driven.batch()) == []


def test_a_rate_that_moves_within_an_epoch_is_unexplained_and_within_the_warm_up_is_not(driven: Driven) -> None:
    for group in driven.optimizer.param_groups:
        group["lr"] *= 1.5
    assert told(driven.batch(1, warming=True)) == [("warm-up", "warm-up began")]
    assert told(driven.batch(2)) == [("warm-up", "warm-up ended")]
    for group in driven.optimizer.param_groups:
        group["lr"] *= 1.5
    assert told(driven.batch(3)) == [(f"learning_rate/{name}", "") for name in GROUPS]


def test_every_setting_of_the_trainer_is_told_with_the_reason_it_gives(driven: Driven) -> None:
    driven.trainer.batch_size, driven.trainer._oom_retries = 8, 1
    assert told(driven.batch(1)) == [("batch_size", "out of memory")]
    driven.trainer.accumulate = 8
    assert told(driven.batch(2)) == [("accumulate", "out of memory")]
    driven.trainer.args.imgsz = 320
    assert told(driven.batch(3)) == [("image_size", "")]
    driven.clip_norm = 5.0
    assert told(driven.batch(4)) == [("clip_norm", "")]
    driven.optimizer.param_groups[0]["momentum"] = 0.8
    assert told(driven.batch(5)) == [("momentum/weight", "")]
    driven.optimizer.param_groups[0]["weight_decay"] = 0.1
    assert told(driven.batch(6)) == [("weight_decay/weight", "")]


def test_closing_mosaic_is_told_with_its_reason(driven: Driven) -> None:
    for _ in range(4):
        driven.next_epoch()
    assert told(driven.batch()) == [("mosaic", "mosaic closed")]


def test_added_parameter_groups_are_told_with_their_reason(driven: Driven) -> None:
    driven.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(2))], "param_group": "extra"})
    assert told(driven.batch(1)) == [("parameter_groups", "the training added parameter groups")]
