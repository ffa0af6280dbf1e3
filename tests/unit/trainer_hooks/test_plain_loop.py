"""A loop written by hand, really trained, with a probe that remembers everything."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from tests.harness.plain_bench import BATCHES, Bench
from tests.harness.recorder import RecordingProbe
from tests.harness.records import order
from trainer_hooks.integrations.plain import watch
from trainer_hooks.orders import LeaveTraining
from trainer_hooks.steps import MARK
from trainer_hooks.trainings import TrainingName
from trainer_hooks.wire.messages import (
    HookTrouble,
    Nonfinite,
    OrderApplied,
    PhaseChanged,
    TrainingEnded,
    TrainingStarted,
)


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
