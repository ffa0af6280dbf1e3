"""A hand-written loop that goes back to a snapshot: its state comes back bit for bit, and it is not left."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel

from tests.harness import plans
from tests.harness.recorder import RecordingProbe
from trainer_hooks.integrations.plain import watch
from trainer_hooks.integrations.plain.loop import Loop
from trainer_hooks.snapshots import file
from trainer_hooks.wire.messages import HookTrouble, OrderApplied, SettingChanged, TrainingStarted
from trainer_hooks.wire.plan import Checkpoint, GroupSettings, Settings
from trainer_hooks.wire.runfolder import ENV_SNAPSHOTS

GradScaler: Any = getattr(torch.amp, "GradScaler", None)  # from torch 2.3 on; before there was none for the CPU
SCALER = GradScaler("cpu") if GradScaler else None
Optimizers = Callable[[Any], torch.optim.Optimizer]
OPTIMIZERS: dict[str, Optimizers] = {
    "SGD": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=1e-4),
    "SGD without momentum": lambda p: torch.optim.SGD(p, 0.05),
    "Adam": lambda p: torch.optim.Adam(p, 0.01, amsgrad=True),
    "AdamW": lambda p: torch.optim.AdamW(p, 0.01),
    "AdamW foreach": lambda p: torch.optim.AdamW(p, 0.01, foreach=True),
    "NAdam": lambda p: torch.optim.NAdam(p, 0.01),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9, centered=True),
    "Adagrad": lambda p: torch.optim.Adagrad(p, 0.05),
    "Adadelta": torch.optim.Adadelta,
    "Rprop": lambda p: torch.optim.Rprop(p, 0.01),
    "ASGD": lambda p: torch.optim.ASGD(p, 0.05),
}


class Net(nn.Module):
    """With BatchNorm, tied weights, a buffer that no state_dict has, and an attention mask of minus infinities."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.inner, self.outer = nn.Linear(16, 16, bias=False), nn.Linear(16, 16, bias=False)
        self.outer.weight = self.inner.weight
        self.head = nn.Linear(16, 3)
        self.register_buffer("seen", torch.zeros(()), persistent=False)
        self.register_buffer("mask", torch.full((3,), -math.inf))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.seen.add_(1)
        pooled = nn.functional.adaptive_avg_pool2d(self.norm(self.conv(images)).relu(), 2).flatten(1)
        scores: torch.Tensor = self.head(self.outer(self.inner(pooled)))
        return scores + self.mask.clamp(min=0.0)


class Bench:
    """A training whose state is saved after every batch."""

    def __init__(self, folder: Path, make: Optimizers = OPTIMIZERS["SGD"], **options: Any) -> None:
        torch.manual_seed(1)
        self.probe = RecordingProbe(folder)
        self.model = Net()
        self.optimizer = make(self.model.parameters())
        self.scheduler = lr_scheduler.CosineAnnealingLR(self.optimizer, 60)
        self.average = AveragedModel(self.model)
        given = {"epochs": 3, "batches_per_epoch": 20, "ema": self.average, "scheduler": self.scheduler} | options
        self.loop: Loop = watch(self.model, self.optimizer, connect=lambda name: self.probe, **given)
        self.batches = 0

    def step(self, *, bad: bool = False, step: Callable[[], Any] | None = None, **given: Any) -> None:
        images = torch.randn(8, 1, 6, 6)
        loss = nn.functional.cross_entropy(self.model(images), torch.arange(8) % 3)
        self.optimizer.zero_grad()
        (loss * math.nan if bad else loss).backward()  # type: ignore[no-untyped-call]
        (step or self.optimizer.step)()
        self.average.update_parameters(self.model)
        self.scheduler.step()
        self.batches += 1
        self.loop.batch(loss * math.nan if bad else loss, epoch=1 + (self.batches - 1) // 20, **given)

    def state(self) -> dict[str, Any]:
        """A copy of all that has to come back."""
        found: dict[str, Any] = {f"model {n}": t for n, t in self.model.named_parameters()}
        found |= {f"buffer {n}": t for n, t in self.model.named_buffers()}
        found |= {f"average {n}": t for n, t in self.average.state_dict().items()}
        for number, parameter in enumerate(self.model.parameters()):
            for name, value in self.optimizer.state.get(parameter, {}).items():
                found[f"optimizer {number} {name}"] = value
        return {name: v.detach().clone() if isinstance(v, torch.Tensor) else v for name, v in found.items()}

    def ruin(self) -> None:
        """Every number of the state is NaN."""
        with torch.no_grad():
            for tensor in [*self.model.parameters(), *self.average.parameters()]:
                tensor.fill_(math.nan)
            self.model.norm.running_mean.fill_(math.nan)
            self.model.norm.running_var.fill_(math.nan)
            for kept in self.optimizer.state.values():
                for value in kept.values():
                    if isinstance(value, torch.Tensor) and value.is_floating_point():
                        value.fill_(math.nan)

    def order(self, holds: tuple[int, int], settings: Settings | None = None, **changes: Any) -> None:
        """To go back, at the end of the next batch."""
        path, save, copy = next(s for s in self.probe.snapshots if (s[1].epoch, s[1].extra_batches) == holds)
        state = Checkpoint(path=str(path), digest=copy.digest, epoch=save.epoch, extra_batches=save.extra_batches)
        own = settings or settings_of(self.probe, 1.0)
        known = {"snapshot": state, "start_epoch": holds[0] + 1, "in_process": True, "settings": own}
        known["own_settings"] = settings is None
        plans.write(self.probe.root, plans.plan(**known | changes), "adjust-1.json")
        self.probe.orders[len(self.probe.batches) + 1] = plans.order("go_back", "adjust-1.json")

    @property
    def answer(self) -> OrderApplied:
        (answer,) = self.probe.of(OrderApplied)
        return answer


def settings_of(probe: RecordingProbe, share: float, clip_norm: float = 10.0) -> Settings:
    """Those that the training began with, with so large a share of the rates."""
    (started,) = probe.of(TrainingStarted)
    groups = zip(started.group_names, started.group_rates, started.base_weight_decays, strict=True)
    return Settings(
        groups=tuple(GroupSettings(name=n, base_rate=r * share, rate_max=None, weight_decay=d) for n, r, d in groups),
        clip_norm=clip_norm, momentum=0.9, ramp_batches=0, warmup_epochs=0.0,
        learning_rate=started.group_rates[0] * share, weight_decay=0.0,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def snapshots_at_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV_SNAPSHOTS, "1e-9")
    monkeypatch.setattr("trainer_hooks.snapshots.due.SHARE_MAX", 1e9)


def differing(here: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """Names of what is not equal to the last bit."""
    equal = {n: torch.equal(v, there[n]) if isinstance(v, torch.Tensor) else v == there[n] for n, v in here.items()}
    return [name for name, same in equal.items() if not same] + sorted(here.keys() ^ there.keys())


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_the_state_comes_back_bit_for_bit_into_the_same_tensors_and_the_loop_goes_on(
    tmp_path: Path, make: Optimizers
) -> None:
    bench = Bench(tmp_path, make)
    for _ in range(3):
        bench.step()
    expected, groups = bench.state(), list(bench.optimizer.param_groups)
    for _ in range(2):
        bench.step()
    addresses = [tensor.data_ptr() for tensor in bench.model.parameters()]
    bench.order((0, 3))
    bench.step(step=lambda: (bench.optimizer.step(), bench.ruin()))
    random_after, rate = torch.rand(3), bench.optimizer.param_groups[0]["lr"]
    assert bench.answer.outcome == "applied", bench.answer.detail
    assert bench.answer.detail == "the state after batch 3 of epoch 1 is put back, and the loop goes on where it is"
    assert differing(expected, bench.state()) == []
    assert [tensor.data_ptr() for tensor in bench.model.parameters()] == addresses
    assert all(now is then for now, then in zip(bench.optimizer.param_groups, groups, strict=True))
    assert bench.model.mask.eq(-math.inf).all()

    bench.step()
    assert (bench.probe.batches[-1].epoch, bench.probe.batches[-1].batch) == (1, 6)
    assert bench.probe.batches[-1].learning_rates == (rate,)
    assert bench.scheduler.last_epoch == 7
    again = Bench(tmp_path, make)
    for _ in range(6):
        again.step()
    assert torch.equal(torch.rand(3), random_after), "the random numbers of the loop went back too"
    assert not bench.probe.of(HookTrouble)


def test_a_snapshot_names_the_batches_that_it_holds_and_reads_without_running_anything(tmp_path: Path) -> None:
    bench = Bench(tmp_path, scaler=SCALER)
    for _ in range(21):
        bench.step()
    holds = [(save.epoch, save.extra_batches, save.batches) for _, save, _ in bench.probe.snapshots]
    assert holds == [*((0, n, n) for n in range(1, 21)), (1, 1, 21)]
    tree = file.read(bench.probe.snapshots[-1][0])
    assert (tree["framework"], tree["epoch"], tree["batch"]) == ("torch", 2, 0)
    assert tree["scaler"] == (None if SCALER is None else SCALER.state_dict())
    assert "mask" not in tree["model"]
    (started,) = bench.probe.of(TrainingStarted)
    assert (started.goes_back, started.keeps_position) == (True, True)


def test_a_loop_that_counts_steps_has_one_epoch(tmp_path: Path) -> None:
    probe, model = RecordingProbe(tmp_path), nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    loop = watch(model, optimizer, batches_per_epoch=9, connect=lambda name: probe)
    for _ in range(3):
        loss = model(torch.ones(1, 2)).sum()
        loss.backward()
        optimizer.step()
        loop.batch(loss)
    assert [(save.epoch, save.extra_batches) for _, save, _ in probe.snapshots] == [(0, 1), (0, 2), (0, 3)]


def test_no_snapshot_is_taken_after_a_bad_batch_or_before_the_step_of_an_accumulation(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.step()
    bench.step(step=lambda: None)
    bench.step(bad=True)
    assert [save.extra_batches for _, save, _ in bench.probe.snapshots] == [1]


def test_the_gradients_of_the_state_that_is_given_up_do_not_go_into_the_next_step(tmp_path: Path) -> None:
    """With accumulation the order may come between two steps."""
    bench = Bench(tmp_path)
    bench.step()
    bench.order((0, 1))
    bench.step(bad=True, step=lambda: None)
    grads = [parameter.grad for parameter in bench.model.parameters() if parameter.grad is not None]
    assert grads
    assert not any(grad.any() for grad in grads)


def test_the_settings_of_the_plan_hold_in_each_step_and_the_loop_sees_its_own(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for _ in range(2):
        bench.step(clip_norm=4.0)
    bench.order((0, 2), settings_of(bench.probe, 0.5, clip_norm=2.0))
    bench.step(clip_norm=4.0)
    rate = bench.optimizer.param_groups[0]["lr"]
    assert bench.answer.read_back == {"learning_rate/group0": format(rate / 2, ".6g")}
    for _ in range(3):
        own = bench.optimizer.param_groups[0]["lr"]
        bench.step(clip_norm=4.0)
        assert bench.probe.batches[-1].learning_rates == (own / 2,)
        assert bench.probe.batches[-1].clip_norm == 2.0
    assert bench.optimizer.param_groups[0]["lr"] == pytest.approx(0.05 * (1 + math.cos(math.pi * 6 / 60)) / 2)
    assert bench.optimizer.param_groups[0]["initial_lr"] == 0.05
    assert not bench.probe.of(SettingChanged)


def test_an_order_to_adjust_puts_the_settings_in_force_and_changes_no_state(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.step()
    plans.write(tmp_path, plans.plan(kind="adjust", settings=settings_of(bench.probe, 0.5)), "adjust-1.json")
    bench.probe.orders[2] = plans.order("adjust", "adjust-1.json")
    bench.step()
    after = bench.state()
    assert bench.answer.outcome == "applied"
    (tmp_path / "undisturbed").mkdir()
    undisturbed = Bench(tmp_path / "undisturbed")
    undisturbed.step()
    undisturbed.step()
    assert differing(undisturbed.state(), after) == []
    own = bench.optimizer.param_groups[0]["lr"]
    bench.step()
    assert bench.probe.batches[-1].learning_rates == (own / 2,)


def test_a_batch_of_an_accumulation_without_a_step_is_recorded_with_the_rate_in_force(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.step()
    bench.order((0, 1), settings_of(bench.probe, 0.5))
    bench.step()
    for _ in range(3):
        bench.step(step=lambda: None)
        assert bench.probe.batches[-1].learning_rates == (bench.optimizer.param_groups[0]["lr"] / 2,)
    assert not bench.probe.of(SettingChanged)


def test_gradients_are_clipped_to_the_plans_limit_where_the_loop_clips(tmp_path: Path) -> None:
    norms = []
    for clip_norm, folder in ((1e-3, tmp_path / "clips"), (None, tmp_path / "does not")):
        folder.mkdir()
        bench = Bench(folder, lambda p: torch.optim.SGD(p, 1.0))
        bench.step(clip_norm=clip_norm)
        bench.order((0, 1), settings_of(bench.probe, 1.0, clip_norm=1e-4))
        bench.step(clip_norm=clip_norm)
        before = bench.state()
        bench.step(clip_norm=clip_norm)
        rate = bench.probe.batches[-1].learning_rates[0]
        moved = [p - before[f"model {n}"] for n, p in bench.model.named_parameters()]
        norms.append(float(torch.stack([each.norm() for each in moved]).norm().detach()) / rate)
    assert norms[0] == pytest.approx(1e-4, rel=0.02)
    assert norms[1] > 1e-2


def test_a_step_that_raises_leaves_the_loop_its_own_rate(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.step()
    bench.order((0, 1), settings_of(bench.probe, 0.5))
    bench.step()
    rate = bench.optimizer.param_groups[0]["lr"]

    def closure() -> float:
        raise ValueError("no data")

    for _ in range(3):
        with pytest.raises(ValueError, match="no data"):
            bench.optimizer.step(closure)
    bench.optimizer.zero_grad()
    bench.optimizer.step()
    assert bench.optimizer.param_groups[0]["lr"] == rate


def test_what_does_not_fit_is_refused_with_nothing_changed(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for _ in range(2):
        bench.step()
    wrong = Checkpoint(path=str(bench.probe.snapshots[0][0]), digest="0" * 64, epoch=0, extra_batches=1)
    cases = [
        ("the plan says 0000", {"snapshot": wrong}),
        ("names no snapshot", {"snapshot": None}),
        ("the plan is for bias", {"settings": plans.settings(names=("bias",)), "own_settings": False}),
    ]
    for text, changes in cases:
        bench.order((0, 1), **changes)
        bench.step()
        answer = bench.probe.of(OrderApplied)[-1]
        assert answer.outcome == "refused"
        assert text in answer.detail
    bench.order((0, 1))
    bench.model.head = nn.Linear(16, 5)
    before = bench.model.conv.weight.detach().clone()
    bench.loop.batch(1.0, epoch=1)
    answer = bench.probe.of(OrderApplied)[-1]
    assert answer.outcome == "refused"
    assert "are not as in the snapshot" in answer.detail
    assert torch.equal(before, bench.model.conv.weight)


def average_in(form: str, model: Net) -> Any:
    copied = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    wrapper = type("Wrapper", (), {})()
    wrapper.ema = AveragedModel(model)
    return {"dict": copied, "list": list(copied.values()), "wrapper": wrapper}[form]


@pytest.mark.parametrize("form", ["dict", "list", "wrapper"])
def test_an_average_of_the_weights_comes_back_in_whatever_form_it_is_kept(tmp_path: Path, form: str) -> None:
    torch.manual_seed(1)
    probe, model = RecordingProbe(tmp_path), Net()
    optimizer, average = torch.optim.SGD(model.parameters(), 0.1), average_in(form, model)
    loop = watch(model, optimizer, ema=average, connect=lambda name: probe)
    model(torch.randn(4, 1, 6, 6)).sum().backward()
    optimizer.step()
    loop.batch(1.0)
    held = list(average.ema.parameters() if form == "wrapper" else average.values() if form == "dict" else average)
    before = [tensor.detach().clone() for tensor in held]
    with torch.no_grad():
        for tensor in held:
            tensor.fill_(math.nan)
    path, save, copy = probe.snapshots[0]
    state = Checkpoint(path=str(path), digest=copy.digest, epoch=save.epoch, extra_batches=save.extra_batches)
    plan = plans.plan(snapshot=state, start_epoch=1, in_process=True, own_settings=True)
    plans.write(tmp_path, plan, "adjust-1.json")
    probe.orders[2] = plans.order("go_back", "adjust-1.json")
    loop.batch(1.0)
    assert probe.of(OrderApplied)[0].outcome == "applied"
    assert all(torch.equal(now, then) for now, then in zip(held, before, strict=True))


def test_where_the_state_is_not_known_or_nobody_asks_for_snapshots_the_training_says_that_it_goes_back_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def goes_back(model: Any, **given: Any) -> bool:
        probe = RecordingProbe(tmp_path)
        loop = watch(model, torch.optim.SGD(nn.Linear(1, 1).parameters(), 0.1), connect=lambda name: probe, **given)
        loop.batch(1.0)
        assert probe.snapshots == []
        return probe.of(TrainingStarted)[0].goes_back

    assert goes_back(nn.Linear(1, 1))
    assert not goes_back([nn.Linear(1, 1)])
    assert not goes_back(nn.Linear(1, 1), ema=object())
    assert "no snapshots are taken of this training: ema is a object" in caplog.text
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not goes_back(nn.Linear(1, 1))
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.delenv(ENV_SNAPSHOTS)
    assert not goes_back(nn.Linear(1, 1))
