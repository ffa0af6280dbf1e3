"""A plan's values arrive everywhere they are kept, and the ramp lets no rate pass what the plan allows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.harness import plans
from trainer_hooks.integrations.ultralytics.plan_settings import PlanError, apply, apply_before_setup, group_names
from trainer_hooks.parameter_groups import momentum_of, readings
from trainer_hooks.ramp import Ramp


def trainer_with(kind: str = "SGD", names: tuple[str, ...] = ("weight", "bn", "bias")) -> Any:
    """The parts of a trainer that a plan touches, with a rate schedule that stands at one half."""
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))], "param_group": name} for name in names]
    options: dict[str, Any] = {"momentum": 0.9} if kind == "SGD" else {"betas": (0.9, 0.999)}
    optimizer = getattr(torch.optim, kind)(groups, lr=0.01, weight_decay=0.0005, **options)
    arguments = SimpleNamespace(lr0=0.01, momentum=0.9, weight_decay=0.0005, warmup_epochs=3.0, warmup_bias_lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 0.5)
    return SimpleNamespace(
        optimizer=optimizer, scheduler=scheduler, args=arguments, lf=lambda _: 0.5, start_epoch=0, epoch=1
    )


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_every_place_that_keeps_a_setting_gets_it(kind: str) -> None:
    trainer = trainer_with(kind)
    read_back = apply(plans.plan(), trainer)
    assert [group["initial_lr"] for group in trainer.optimizer.param_groups] == [0.005] * 3
    assert [group["lr"] for group in trainer.optimizer.param_groups] == [0.0025] * 3
    assert [group["weight_decay"] for group in trainer.optimizer.param_groups] == [0.001, 0.0, 0.0]
    assert [momentum_of(group) for group in trainer.optimizer.param_groups] == [0.85] * 3
    assert trainer.scheduler.base_lrs == [0.005] * 3
    trainer.optimizer.step()
    trainer.scheduler.step()
    assert [group["lr"] for group in trainer.optimizer.param_groups] == [0.0025] * 3
    assert vars(trainer.args) == {
        "lr0": 0.005,
        "momentum": 0.85,
        "weight_decay": 0.001,
        "warmup_epochs": 6.0,
        "warmup_bias_lr": 0.005,
    }
    assert read_back["learning_rate/bias"] == "0.005"
    assert read_back["weight_decay/weight"] == "0.001"
    assert apply(plans.plan(), trainer) == read_back, "doing it twice is doing it once"


def test_further_settings_are_in_force_before_the_data_sets_are_built_and_unknown_ones_do_nothing() -> None:
    trainer = trainer_with()
    trainer.args.hsv_s = 0.7
    settings = plans.settings(more={"hsv_s": 0.35, "warmup_bias_lr": 0.004, "of_another_release": 1.0})
    apply_before_setup(settings, trainer)
    assert (trainer.args.hsv_s, trainer.args.warmup_bias_lr) == (0.35, 0.004)
    read_back = apply(plans.plan(settings=settings), trainer)
    assert (read_back["hsv_s"], read_back["warmup_bias_lr"]) == ("0.35", "0.004")
    assert not hasattr(trainer.args, "of_another_release")


def test_a_plan_for_other_groups_changes_nothing() -> None:
    trainer = trainer_with(names=("weight", "bias"))
    before = readings(trainer.optimizer)
    with pytest.raises(PlanError, match="groups are weight, bias: the plan is for weight, bn, bias"):
        apply(plans.plan(), trainer)
    assert readings(trainer.optimizer) == before


def test_groups_of_one_name_are_told_apart() -> None:
    assert group_names(trainer_with(names=("muon", "muon", "bias")).optimizer) == ("muon0", "muon1", "bias")


@pytest.mark.parametrize(
    ("shapes", "names"),
    [
        ([(2,), (2, 2), (2,)], ("bias", "weight", "bn")),
        ([(2, 2), (2,), (2,)], ("group0", "group1", "group2")),
        ([(2,), (2, 2)], ("group0", "group1")),
    ],
)
def test_the_biases_are_told_apart_where_the_trainer_names_no_group(
    shapes: list[tuple[int, ...]], names: tuple[str, ...]
) -> None:
    """Else nothing would cap their rate, which a longer warm-up raises."""
    groups = [{"params": [torch.nn.Parameter(torch.ones(shape))]} for shape in shapes]
    assert group_names(torch.optim.SGD(groups, lr=0.01)) == names


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_readings_are_plain_floats_whatever_the_trainer_puts_into_its_groups(kind: str) -> None:
    """Older releases of Ultralytics interpolate with numpy and keep what they get, which the wire can't carry."""
    trainer = trainer_with(kind)
    for group in trainer.optimizer.param_groups:
        group.update(lr=np.float64(0.01), weight_decay=np.float64(0.001))
        group.update(momentum=np.float64(0.8)) if kind == "SGD" else group.update(betas=(np.float64(0.8), 0.999))
    read = [value for reading in readings(trainer.optimizer) for value in reading]
    assert {type(value) for value in read} == {float}
    assert 0.8 in read


@given(
    batches=st.integers(0, 40),
    length=st.integers(0, 30),
    set_by_trainer=st.floats(0.0, 1.0),
    warming=st.booleans(),
)
def test_no_rate_passes_the_plan_whatever_the_trainer_sets(
    batches: int, length: int, set_by_trainer: float, warming: bool
) -> None:
    trainer = trainer_with()
    ramp = Ramp(plans.settings(ramp_batches=length), lambda: 0.5, lambda: warming)
    ramp.batches = batches
    for group in trainer.optimizer.param_groups:
        group["lr"], group["momentum"] = set_by_trainer, 0.8
    before = readings(trainer.optimizer)
    ramp.before_step(trainer.optimizer)
    inside = readings(trainer.optimizer)
    ramp.after_step(trainer.optimizer)
    assert readings(trainer.optimizer) == before, "the trainer finds what it had set"
    if not ramp.governs:
        assert inside == before
        return
    assert all(reading.rate <= 0.005 * 0.5 * ramp.fraction + 1e-12 for reading in inside)
    assert inside[2].rate <= plans.RATE_MAX_OF_BIAS
    assert all(reading.momentum == 0.85 for reading in inside)


def test_the_ramp_rises_from_almost_nothing_to_the_whole_rate_and_then_lets_go() -> None:
    trainer = trainer_with()
    ramp = Ramp(plans.settings(ramp_batches=4), lambda: 1.0, lambda: False)
    rates = []
    for _ in range(5):
        ramp.before_step(trainer.optimizer)
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        ramp.after_step(trainer.optimizer)
        ramp.batches += 1
    assert rates[:3] == pytest.approx([0.00125, 0.0025, 0.00375])
    assert rates[3:] == [0.005, 0.005], "what the trainer itself had set"


def test_a_warm_up_that_stops_short_of_its_target_is_completed_once() -> None:
    """Releases of Ultralytics exist whose last batch of warm-up sets less than the whole, and nothing sets more."""
    trainer = trainer_with()
    ramp = Ramp(plans.settings(ramp_batches=2), lambda: 0.5, lambda: False)
    for rate, momentum, expected in ((0.002, 0.84, 0.85), (0.001, 0.5, 0.5)):
        ramp.before_step(trainer.optimizer)
        ramp.after_step(trainer.optimizer)
        ramp.batches = 1
        for group in trainer.optimizer.param_groups:
            group["lr"], group["momentum"] = rate, momentum
        ramp.before_step(trainer.optimizer)
        ramp.after_step(trainer.optimizer)
        assert {reading.momentum for reading in readings(trainer.optimizer)} == {expected}
    assert {reading.rate for reading in readings(trainer.optimizer)} == {0.001}, "what anybody sets later stays"


def test_what_differs_from_the_plan_is_said_in_sentences() -> None:
    trainer = trainer_with()
    apply(plans.plan(), trainer)
    trainer.optimizer.param_groups[0]["weight_decay"] = 0.5
    ramp = Ramp(plans.settings(ramp_batches=0), lambda: 0.5, lambda: True)
    ramp.before_step(trainer.optimizer)
    used = readings(trainer.optimizer)
    assert ramp.mismatches(used, 5.0) == ("weight decay of weight is 0.5: the plan says 0.001",)
    assert ramp.mismatches(used, 10.0)[1] == "gradients were clipped to 10.0: the plan says 5.0"
