"""The guard on tiny models: what it drops, puts back, leaves alone and reports."""

from __future__ import annotations

import copy
import math
import threading
from typing import Any

import pytest
import torch

from tests.harness.torch_names import scaler_on_cpu
from trainer_hooks.fail_open import FailOpen
from trainer_hooks.guard import STATISTICS_EVERY_STEPS, Guard, clipping, watch_clipping
from trainer_hooks.guard.state import EVERY_STEP_AFTER_BAD
from trainer_hooks.wire.messages import HookTrouble, SkippedBy

NAN = float("nan")


class Average:
    """A moving average as trainers keep one: everything of the model, slowly."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.ema = copy.deepcopy(model).eval()
        self.updates = 0

    def update(self, model: torch.nn.Module) -> None:
        self.updates += 1
        with torch.no_grad():
            for mine, theirs in zip(self.ema.state_dict().values(), model.state_dict().values(), strict=True):
                if mine.is_floating_point():
                    mine.lerp_(theirs, 0.1)


class Trainer:
    """A loop's body around a model with one BatchNorm."""

    def __init__(self, *, scaler: bool = False, acts: bool = True) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        self.scaler = scaler_on_cpu(enabled=scaler, init_scale=1024.0)
        self.average = Average(self.model)
        self.troubles: list[HookTrouble] = []
        self.guard = Guard(self.model, self.optimizer, self.scaler, FailOpen(self.troubles.append), acts=acts)
        watch_clipping()

    def forward(self, *, pixel: float = 0.0, factor: float = 1.0) -> torch.Tensor:
        inputs = torch.randn(8, 4)
        inputs[0, 0] += pixel
        loss: torch.Tensor = self.model(inputs).pow(2).mean() * factor
        self.scaler.scale(loss).backward()
        return loss

    def step(self, loss: torch.Tensor) -> None:
        self.guard.enter(loss, self.average)
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=10.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.average.update(self.model)
        self.guard.leave()
        self.guard.settle()

    def batch(self, **fault: float) -> Any:
        self.step(self.forward(**fault))
        self.guard.note_scale(self.scaler.get_scale())
        self.guard.resolve([float(measure) for measure in self.guard.measures()])
        return self.guard.take()

    def poisoned(self) -> list[str]:
        named = [*self.model.state_dict().items(), *((f"ema.{k}", v) for k, v in self.average.ema.state_dict().items())]
        return [name for name, value in named if not bool(torch.isfinite(value).all())]


@pytest.fixture
def trainer() -> Trainer:
    return Trainer()


def test_a_non_finite_step_is_dropped_and_leaves_weights_momentum_and_average_as_they_were(trainer: Trainer) -> None:
    for _ in range(3):
        trainer.batch()
    before = copy.deepcopy(
        (list(trainer.model.parameters()), trainer.optimizer.state_dict(), trainer.average.ema.state_dict())
    )
    report = trainer.batch(pixel=NAN)
    assert report.skipped_by == SkippedBy.GUARD
    assert report.bad_buffer == "1.running_mean"
    parameters, optimizer, average = before
    assert all(torch.equal(a, b) for a, b in zip(parameters, trainer.model.parameters(), strict=True))
    momenta = [state["momentum_buffer"] for state in optimizer["state"].values()]
    now = [state["momentum_buffer"] for state in trainer.optimizer.state_dict()["state"].values()]
    assert all(torch.equal(a, b) for a, b in zip(momenta, now, strict=True))
    assert all(torch.equal(average[name], value) for name, value in trainer.average.ema.state_dict().items())
    assert trainer.average.updates == 3
    assert trainer.poisoned() == []
    assert trainer.batch().skipped_by == SkippedBy.NOBODY
    assert trainer.troubles == []


def test_the_statistics_come_back_from_a_backup_that_is_never_poisoned(trainer: Trainer) -> None:
    """The count of tracked batches comes back too: to that of the last backup, which is at most so many steps old."""
    for _ in range(STATISTICS_EVERY_STEPS + 5):
        trainer.batch()
    trainer.batch(pixel=NAN)
    statistics = trainer.model[1]
    assert int(statistics.num_batches_tracked) == STATISTICS_EVERY_STEPS
    assert bool(torch.isfinite(statistics.running_var).all())


def test_bad_batches_that_come_often_do_not_hold_the_statistics_back(trainer: Trainer) -> None:
    """Each costs the statistics its own batch, and only the first one the batches since the last backup."""
    for _ in range(2 * STATISTICS_EVERY_STEPS):
        for _ in range(4):
            trainer.batch()
        trainer.batch(pixel=NAN)
    good = 4 * 2 * STATISTICS_EVERY_STEPS
    assert good - STATISTICS_EVERY_STEPS < int(trainer.model[1].num_batches_tracked) <= good


def test_long_after_a_bad_batch_the_statistics_are_backed_up_now_and_then_again(trainer: Trainer) -> None:
    trainer.batch(pixel=NAN)
    measured = []
    for _ in range(EVERY_STEP_AFTER_BAD + 2 * STATISTICS_EVERY_STEPS):
        trainer.step(trainer.forward())
        measured.append(len(trainer.guard.measures()))
        trainer.guard.resolve([float(measure) for measure in trainer.guard.measures()])
        trainer.guard.take()
    assert measured[:EVERY_STEP_AFTER_BAD] == [1] * EVERY_STEP_AFTER_BAD
    assert sum(measured[EVERY_STEP_AFTER_BAD:]) == 2


def test_a_copy_of_the_statistics_is_not_replaced_by_another_before_its_measure_is_read(trainer: Trainer) -> None:
    """On a device that is read late, a poisoned copy would count by the measure of the one before."""
    trainer.batch(pixel=NAN)
    for _ in range(3):
        trainer.step(trainer.forward())
        trainer.guard.take()
    assert len(trainer.guard.measures()) == 1


def test_statistics_that_turn_bad_without_a_bad_batch_are_found_at_the_next_backup(trainer: Trainer) -> None:
    for _ in range(STATISTICS_EVERY_STEPS - 1):
        trainer.batch()
    with torch.no_grad():
        trainer.model[1].running_var[2] = NAN
    trainer.step(trainer.forward())
    assert not trainer.guard.resolve([float(measure) for measure in trainer.guard.measures()])
    found = trainer.guard.examine()
    assert (found.buffer, found.clean, found.finding) == ("1.running_var", True, "")
    assert trainer.poisoned() == []


def test_under_a_scaler_the_average_never_sees_poisoned_statistics() -> None:
    trainer = Trainer(scaler=True)
    trainer.batch()
    report = trainer.batch(pixel=NAN)
    assert report.skipped_by == SkippedBy.SCALER
    assert report.bad_buffer == "1.running_mean"
    assert trainer.poisoned() == []
    assert trainer.average.updates == 1, "no step was taken that it could follow"


def test_an_isolated_overflow_of_the_scaler_touches_no_statistics() -> None:
    trainer = Trainer(scaler=True)
    trainer.batch()
    before = trainer.model[1].running_mean.clone()
    loss = trainer.forward()
    for parameter in trainer.model.parameters():
        assert parameter.grad is not None
        parameter.grad.fill_(math.inf)
    expected = trainer.model[1].running_mean.clone()
    trainer.step(loss.detach())
    report = trainer.guard.take()
    assert report.skipped_by == SkippedBy.SCALER
    assert trainer.average.updates == 2, (
        "a scaler that looks for its range is no fault: the average goes on as without us"
    )
    assert report.bad_buffer == ""
    assert report.scale_healthy
    assert not torch.equal(before, expected)
    assert torch.equal(trainer.model[1].running_mean, expected)


def test_a_guard_that_may_not_act_reports_and_changes_nothing() -> None:
    trainer = Trainer(acts=False)
    trainer.batch()
    report = trainer.batch(pixel=NAN)
    assert report.skipped_by == SkippedBy.NOBODY
    assert report.norm_value is not None
    assert math.isnan(report.norm_value)
    found = trainer.guard.examine()
    assert (found.parameter, found.buffer, found.clean) == ("0.weight", "1.running_mean", False)
    assert "0.weight" in found.finding


def test_a_step_taken_without_the_wrapped_clip_is_measured_and_dropped_all_the_same(trainer: Trainer) -> None:
    """A user's own loop that clips nothing at all."""
    trainer.forward(pixel=NAN)
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    trainer.optimizer.step()
    assert trainer.guard.take().skipped_by == SkippedBy.GUARD
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))


def test_parameters_of_another_optimizer_are_left_alone(trainer: Trainer) -> None:
    other = torch.nn.Linear(2, 1)
    other(torch.full((1, 2), NAN)).sum().backward()
    trainer.guard.clip_to(0.5)
    trainer.guard.enter(None, trainer.average)
    norm = torch.nn.utils.clip_grad_norm_(other.parameters(), max_norm=10.0)
    trainer.guard.leave()
    assert math.isnan(float(norm))
    assert other.weight.grad is not None
    assert trainer.guard.report.norm is None


def test_outside_of_a_step_clipping_is_torchs_own(trainer: Trainer) -> None:
    trainer.guard.clip_to(1e-3)
    trainer.forward()
    norms: list[float] = []

    def clip() -> None:
        norms.append(float(torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 10.0)))

    clip()
    trainer.guard.enter(None, trainer.average)
    clip()
    trainer.guard.leave()
    clip()
    assert norms[0] == pytest.approx(norms[1])
    assert norms[2] == pytest.approx(1e-3, rel=1e-3), "only the clip within the step used our limit"


def test_a_clip_is_noted_by_the_training_whose_parameters_it_clips(trainer: Trainer) -> None:
    """Two trainings at once, in threads, whose steps overlap; the first parameters of a clip may be frozen."""
    other = Trainer()
    for each in (trainer, other):
        each.forward()
        each.guard.enter(None, each.average)
    frozen = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
    clip = threading.Thread(target=lambda: torch.nn.utils.clip_grad_norm_([frozen, *other.model.parameters()], 10.0))
    clip.start()
    clip.join()
    assert trainer.guard.report.norm is None
    assert other.guard.report.norm is not None
    for each in (trainer, other):
        each.guard.leave()
        each.guard.release()
        assert not any(id(parameter) in clipping.owners for parameter in each.model.parameters())


def test_two_clips_in_one_step_make_one_norm(trainer: Trainer) -> None:
    trainer.forward()
    parameters = list(trainer.model.parameters())
    whole = float(torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm())
    trainer.guard.enter(None, trainer.average)
    torch.nn.utils.clip_grad_norm_(parameters[:2], 10.0)
    torch.nn.utils.clip_grad_norm_(parameters[2:], 10.0)
    trainer.guard.leave()
    assert trainer.guard.report.norm_value == pytest.approx(whole)


def test_an_average_that_a_recovery_built_anew_is_guarded_too(trainer: Trainer) -> None:
    trainer.batch()
    trainer.average = Average(trainer.model)
    trainer.batch(pixel=NAN)
    assert trainer.average.updates == 0
    trainer.batch()
    assert trainer.average.updates == 1


def test_a_poisoned_average_gets_its_statistics_back_and_its_parameters_reported(trainer: Trainer) -> None:
    trainer.batch()
    with torch.no_grad():
        trainer.average.ema[1].running_mean[0] = NAN
    assert trainer.guard.examine().clean
    assert trainer.poisoned() == []
    with torch.no_grad():
        trainer.average.ema[2].bias[0] = NAN
    found = trainer.guard.examine()
    assert (found.average, found.clean) == ("average of 2.bias", False)


def test_a_model_without_running_statistics_is_guarded_as_well() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    guard = Guard(model, optimizer, None, FailOpen(lambda _: None))
    before = model.weight.clone()
    model(torch.full((1, 2), NAN)).sum().backward()
    optimizer.step()
    assert guard.take().skipped_by == SkippedBy.GUARD
    assert torch.equal(model.weight, before)
