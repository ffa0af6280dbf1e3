"""A loop written by hand, really trained, with a probe that remembers everything."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from tests.harness.recorder import RecordingProbe
from tests.harness.records import order
from trainer_hooks.integrations.plain import watch
from trainer_hooks.integrations.plain.loop import Loop
from trainer_hooks.orders import LeaveTraining
from trainer_hooks.steps import MARK
from trainer_hooks.trainings import TrainingName
from trainer_hooks.wire.messages import (
    BatchEnded,
    HookTrouble,
    Nonfinite,
    OrderApplied,
    PhaseChanged,
    SettingChanged,
    TrainingEnded,
    TrainingStarted,
)

BATCHES = 60


class Bench:
    """A small model and its optimizer, watched."""

    def __init__(self, folder: Path, **options: Any) -> None:
        torch.manual_seed(1)
        self.probe = RecordingProbe(folder)
        self.model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        make: Callable[[Any], torch.optim.Optimizer] = options.pop("optimizer", lambda p: torch.optim.SGD(p, lr=0.01))
        self.optimizer = make(self.model.parameters())
        scheduler: Callable[[Any], Any] | None = options.pop("scheduler", None)
        self.scheduler: Any = scheduler(self.optimizer) if scheduler else None
        self.loop: Loop = watch(
            self.model,
            self.optimizer,
            epochs=3,
            batches_per_epoch=BATCHES,
            connect=lambda name: self.probe,
            **options,
        )

    def step(self, epoch: int = 1, *, bad: bool = False, **given: Any) -> None:
        self.optimizer.zero_grad()
        loss = self.model(torch.rand(2, 4)).square().mean()
        if bad:
            loss = loss * math.nan
        loss.backward()
        self.optimizer.step()
        self.loop.batch(loss, epoch=epoch, batch_size=given.pop("batch_size", 2), **given)

    def train(self, epochs: int = 3, move: Callable[[int], None] | None = None) -> None:
        for number in range(epochs * BATCHES):
            self.step(number // BATCHES + 1)
            if move is not None:
                move(number)

    @property
    def last(self) -> BatchEnded:
        return self.probe.batches[-1]

    @property
    def unexplained(self) -> list[SettingChanged]:
        return [change for change in self.probe.of(SettingChanged) if not change.reason]


def test_a_batch_is_told_with_what_its_step_used(tmp_path: Path) -> None:
    bench = Bench(tmp_path, update_every=1, part_names=("box", "cls"))
    bench.step(sequence_length=512, clip_norm=1.0, parts=(torch.tensor(0.25), 0.5), data_wait_s=0.1)
    record = bench.last
    assert (record.epoch, record.batch, record.batches_per_epoch) == (1, 0, BATCHES)
    assert (record.batch_size, record.sequence_length, record.clip_norm, record.data_wait_s) == (2, 512, 1.0, 0.1)
    assert record.parts == (0.25, 0.5)
    assert record.learning_rates == (0.01,)
    assert record.nonfinite == 0
    norms = [parameter.grad.norm() for parameter in bench.model.parameters() if parameter.grad is not None]
    assert record.grad_norm == pytest.approx(float(torch.stack(norms).norm()), rel=1e-5)
    assert record.update_ratio is not None
    assert 0.0 < record.update_ratio < 0.1
    assert record.counts.steps == 1
    assert not bench.probe.of(HookTrouble)


def test_the_start_tells_the_settings_and_the_end_that_it_ended(tmp_path: Path) -> None:
    bench = Bench(tmp_path, settings={"warmup_epochs": 2})
    bench.step()
    bench.loop.end()
    [started] = bench.probe.of(TrainingStarted)
    assert (started.framework, started.epochs, started.batches_per_epoch) == ("torch", 3, BATCHES)
    assert started.settings == {"warmup_epochs": "2", "optimizer": "SGD", "lr0": "0.01"}
    assert [phase.phase for phase in bench.probe.of(PhaseChanged)] == ["train", "idle"]
    assert bench.probe.of(TrainingEnded)[0].how == "finished"


def test_a_batch_that_is_not_finite_is_told_at_once_and_counted(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.step()
    bench.step(bad=True)
    assert bench.last.nonfinite == Nonfinite.LOSS | Nonfinite.GRADIENT | Nonfinite.PARAMETER, "the step was taken"
    assert bench.probe.urgent == [bench.last]
    assert (bench.last.counts.batches, bench.last.counts.nonfinite_batches) == (2, 1)


def test_pauses_are_declared_and_are_no_part_of_a_batchs_time(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.step()
    with bench.loop.phase("validate"):
        assert [phase.phase for phase in bench.probe.of(PhaseChanged)] == ["train", "validate"]
    assert [phase.phase for phase in bench.probe.of(PhaseChanged)] == ["train", "validate", "train"]


def test_weights_and_random_numbers_are_the_same_to_the_last_bit_with_and_without_it(tmp_path: Path) -> None:
    def trained(watched: bool) -> torch.Tensor:
        bench = Bench(tmp_path, update_every=1, optimizer=lambda p: torch.optim.AdamW(p, lr=0.01))
        for _ in range(40):
            bench.optimizer.zero_grad()
            loss = bench.model(torch.rand(2, 4)).square().mean()
            loss.backward()
            bench.optimizer.step()
            if watched:
                bench.loop.batch(loss, epoch=1)
        return torch.cat([*(p.detach().flatten() for p in bench.model.parameters()), torch.rand(3)])

    assert torch.equal(trained(watched=True), trained(watched=False))


def test_what_fails_in_it_never_reaches_the_training(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    def broken(*_: object) -> Any:
        raise RuntimeError("no record today")

    vars(bench.probe)["batch"] = broken
    for _ in range(5):
        bench.loop.batch(1.0, epoch=1)
    assert len(bench.probe.of(HookTrouble)) == 3
    assert bench.probe.of(HookTrouble)[-1].switched_off


NO_USE: list[tuple[str, dict[str, Any]]] = [
    ("loss", {"loss": "a word"}),
    ("loss", {"loss": None}),
    ("loss", {"loss": torch.zeros(0)}),
    ("parts", {"parts": (1.0, object())}),
    ("grad_norm", {"grad_norm": "big"}),
    ("epoch", {"epoch": "first"}),
    ("epoch", {"epoch": math.inf}),
    ("batch_size", {"batch_size": math.nan}),
    ("clip_norm", {"clip_norm": [1.0]}),
    ("data_wait_s", {"data_wait_s": {}}),
]


@pytest.mark.parametrize(("name", "given"), NO_USE)
def test_an_argument_of_no_use_costs_one_line_and_no_batch(
    name: str, given: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path)
    for _ in range(5):
        bench.loop.batch(given.get("loss", 1.0), **{key: value for key, value in given.items() if key != "loss"})
    assert len(bench.probe.batches) == 5
    assert [batch.counts.nonfinite_batches for batch in bench.probe.batches] == [0] * 5
    assert not bench.probe.of(HookTrouble)
    assert len([line for line in caplog.messages if f"batch({name}" in line]) == 1
    assert bench.probe.batches[-1].loss == (None if name == "loss" else 1.0)


def test_a_loss_of_several_values_is_recorded_as_their_mean_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path)
    bench.loop.batch(torch.tensor([1.0, 3.0]))
    bench.loop.batch(torch.tensor([[5.0]]))
    assert [batch.loss for batch in bench.probe.batches] == [2.0, 5.0]
    assert len(caplog.messages) == 1


def test_batches_without_an_epoch_belong_to_one_and_a_loop_that_counts_from_0_is_understood(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for _ in range(3):
        bench.loop.batch(1.0)
    assert [(batch.epoch, batch.batch) for batch in bench.probe.batches] == [(1, 0), (1, 1), (1, 2)]
    bench = Bench(tmp_path)
    for epoch in (0, 0, 1, 1):
        bench.loop.batch(1.0, epoch=epoch)
    assert [(batch.epoch, batch.batch) for batch in bench.probe.batches] == [(1, 0), (1, 1), (2, 0), (2, 1)]


class Wrapped:
    """As Accelerate wraps an optimizer: the attributes are there, the tables of hooks are not."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    @property
    def param_groups(self) -> Any:
        return self.optimizer.param_groups

    def step(self) -> None:
        self.optimizer.step()


class NoParameters(torch.nn.Module):
    """A model that holds none."""


def _one(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


GIVEN: list[tuple[str, Callable[[torch.nn.Module], Any], int, int]] = [
    ("wrapped", lambda model: Wrapped(_one(model)), 3, 1),
    ("wrapped twice", lambda model: Wrapped(Wrapped(_one(model))), 3, 1),  # type: ignore[arg-type]
    ("a list", lambda model: [_one(model), _one(model)], 3, 1),
    ("a dict", lambda model: {"g": _one(model), "d": _one(model)}, 3, 1),
    ("an empty list", lambda _: [], 0, 0),
    ("none", lambda _: None, 0, 0),
    ("a word", lambda _: "sgd", 0, 0),
]


@pytest.mark.parametrize(("name", "give", "steps", "rates"), GIVEN)
def test_watch_fails_open_whatever_is_given_as_optimizer(
    name: str, give: Callable[[torch.nn.Module], Any], steps: int, rates: int, tmp_path: Path
) -> None:
    model, probe = torch.nn.Linear(2, 1), RecordingProbe(tmp_path)
    given = give(model)
    loop = watch(model, given, connect=lambda _: probe)
    first: Any = next(iter(given.values())) if isinstance(given, dict) else given
    first = first[0] if isinstance(first, list) and first else first
    for _ in range(3):
        model(torch.ones(1, 2)).sum().backward()
        if steps:
            first.step()
        loop.batch(torch.tensor(1.0))
    loop.end()
    assert [batch.loss for batch in probe.batches] == [1.0] * 3, name
    assert probe.batches[-1].counts.steps == steps
    assert len(probe.batches[-1].learning_rates) == rates
    assert not probe.of(HookTrouble)


@pytest.mark.parametrize("model", [NoParameters(), None, "a model", lambda x: x])
def test_watch_fails_open_whatever_is_given_as_model(model: Any, tmp_path: Path) -> None:
    probe = RecordingProbe(tmp_path)
    parameter = torch.nn.Parameter(torch.ones(1))
    loop = watch(
        model, torch.optim.SGD([parameter], lr=0.1), epochs=None, batches_per_epoch=10, connect=lambda _: probe
    )
    loop.batch(1.0)
    assert probe.batches[0].batches_per_epoch == 10
    assert probe.of(TrainingStarted)[0].epochs == 1


def test_a_with_reports_the_exception_that_ends_it_and_changes_nothing_about_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    names = ["cat"]

    def trained() -> None:
        with bench.loop as loop:
            loop.batch(1.0)
            names.pop(7)

    with pytest.raises(IndexError):
        trained()
    (ended,) = bench.probe.of(TrainingEnded)
    assert ended.how == "exception"
    assert ended.detail.startswith("IndexError: pop index out of range, at ")
    assert "test_plain_loop.py" in ended.detail
    assert ended.detail.endswith("in trained: names.pop(7)")
    bench = Bench(tmp_path)
    with bench.loop as loop:
        loop.batch(1.0)
    assert [ended.how for ended in bench.probe.of(TrainingEnded)] == ["finished"]


def test_a_stop_that_the_script_catches_twice_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path)
    bench.probe.orders = {1: order("o1")}
    caught = 0
    for _ in range(6):
        try:
            bench.loop.batch(1.0)
        except BaseException:  # noqa: BLE001 - as the script of this test does
            caught += 1
    assert caught == 2
    assert len([line for line in caplog.messages if "order to stop" in line]) == 1


def test_a_checkpoint_that_is_not_there_costs_a_line_and_the_next_one_is_copied(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path)
    bench.loop.batch(1.0)
    vars(bench.probe)["checkpoint"] = lambda path, save: kept.append((path.stat().st_size, save.epoch))
    kept: list[tuple[int, int]] = []
    for _ in range(4):
        bench.loop.saved(tmp_path / "missing.pt")
    (tmp_path / "last.pt").write_bytes(b"12345")
    bench.loop.saved(tmp_path / "last.pt")
    assert kept == [(5, 1)]
    assert len([line for line in caplog.messages if "missing.pt" in line]) == 1


def test_a_training_that_can_not_be_connected_goes_on_unwatched(tmp_path: Path) -> None:
    def refused(name: TrainingName) -> Any:
        raise OSError(28, "no space left on device")

    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loop = watch(model, optimizer, epochs=1, batches_per_epoch=1, connect=refused)
    loop.batch(torch.tensor(1.0), epoch=1)
    with loop.phase("validate"):
        loop.saved(tmp_path / "x.pt", epoch=1)
    loop.end()
    assert not list(tmp_path.iterdir())


def test_an_order_to_stop_is_obeyed_and_one_with_a_plan_is_refused_and_the_loop_goes_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.probe.orders = {1: order("o1", plan="plan-2.json"), 2: order("o2")}
    bench.step()
    assert bench.probe.of(OrderApplied)[0].outcome == "refused"
    with pytest.raises(LeaveTraining):
        bench.step()
    assert bench.probe.of(OrderApplied)[1].outcome == "applied"
    assert bench.probe.of(TrainingEnded)[0].how == "order"


def test_a_checkpoint_is_handed_over_with_the_counts_of_its_moment(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.step()
    (tmp_path / "last.pt").write_bytes(b"weights")
    bench.loop.saved(tmp_path / "last.pt", epoch=1, is_best=True)
    [told] = bench.probe.checkpoints
    assert (told["bytes"], told["epoch"], told["batches"], told["is_best"]) == (b"weights", 1, 1, True)


# --- settings -----------------------------------------------------------------------------------------------------

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


# --- several trainings --------------------------------------------------------------------------------------------


def test_after_its_end_a_watch_leaves_nothing_on_the_optimizer(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        probe = RecordingProbe(tmp_path)
        loop = watch(model, optimizer, epochs=1, batches_per_epoch=1, connect=lambda name, probe=probe: probe)
        assert hasattr(optimizer.step, MARK)
        loop.end()
        assert probe.retired
    assert "step" not in vars(optimizer)


def test_a_watch_that_has_ended_records_nothing_more(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.step()
    bench.loop.end()
    bench.step()
    with bench.loop.phase("validate"):
        bench.loop.end()
    assert len(bench.probe.batches) == 1
    assert len(bench.probe.of(TrainingEnded)) == 1
    assert [phase.phase for phase in bench.probe.of(PhaseChanged)] == ["train", "idle"]


def test_two_watches_count_apart_and_are_named_by_their_lines_and_arguments(tmp_path: Path) -> None:
    names: list[TrainingName] = []
    probes = [RecordingProbe(tmp_path), RecordingProbe(tmp_path)]

    def connect(name: TrainingName) -> RecordingProbe:
        names.append(name)
        return probes[len(names) - 1]

    loops = []
    for lr in (0.1, 0.2):
        model = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        loops.append(watch(model, optimizer, epochs=1, batches_per_epoch=9, settings={"lr": lr}, connect=connect))
    for loop, loss in zip((loops[0], loops[1], loops[1]), (1.0, math.nan, 1.0), strict=True):
        loop.batch(loss, epoch=1)
    assert [probe.batches[-1].counts.batches for probe in probes] == [1, 2]
    assert [probe.batches[-1].counts.nonfinite_batches for probe in probes] == [0, 1]
    assert names[0].call_site == names[1].call_site
    assert names[0].call_site.partition(":")[0].endswith("test_plain_loop.py")
    assert names[0].arguments_digest != names[1].arguments_digest
