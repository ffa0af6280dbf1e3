"""Every fault of the live bench, in a real training of a few batches: it does what its name says, when it should."""

from __future__ import annotations

import math
import time
from pathlib import Path
from statistics import median

import pytest
import torch

from monitor.recorded.stream import read_stream
from tests.bench.detection.live.catalogue import FAMILIES
from tests.bench.detection.live.experiment import Experiment
from tests.bench.detection.live.parts.clock import clock_of
from tests.bench.detection.live.parts.injections import FAULTS
from tests.bench.detection.live.parts.loop import Training
from tests.bench.detection.live.parts.sink import FileProbe
from trainer_hooks.wire.messages import BatchEnded, HookTrouble, Nonfinite, SettingChanged

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]

AT = 80


class Run:
    """A training that is over, and what its hooks told."""

    def __init__(self, folder: Path, training: str, fault: str, batches: int, lasts: int, **more: float) -> None:
        experiment = Experiment(training, 5, batches, fault=fault, at=AT, lasts=lasts, **more)  # type: ignore[arg-type]
        path = folder / "stream.jsonl"
        probe = FileProbe(path, experiment.kind, {})
        self.training = Training(experiment, probe, folder / "last.pt")
        self.before = [p.detach().clone() for p in self.training.parts.model.parameters()]
        self.training.run()
        probe.close()
        self.records = [recorded.record for recorded in read_stream(path.read_bytes()).records]
        self.batches = [record for record in self.records if isinstance(record, BatchEnded)]
        assert len(self.batches) == batches
        assert not [record for record in self.records if isinstance(record, HookTrouble)]

    def losses(self, begin: int, end: int) -> list[float]:
        return [b.loss for b in self.batches[begin:end] if b.loss is not None]

    def norms(self, begin: int, end: int) -> list[float]:
        return [b.grad_norm for b in self.batches[begin:end] if b.grad_norm is not None]


def run(folder: Path, fault: str, *, training: str = "mlp", batches: int = 100, lasts: int = 1, **more: float) -> Run:
    return Run(folder, training, fault, batches, lasts, **more)


def test_every_fault_of_the_catalogue_can_be_put_in() -> None:
    assert set(FAULTS) - {""} == set(FAMILIES)


@pytest.mark.parametrize("training", ["mlp", "cnn", "chars"])
def test_without_a_fault_nothing_is_bad_and_the_training_learns(tmp_path: Path, training: str) -> None:
    ended = run(tmp_path, "", training=training, batches=120)
    assert all(b.nonfinite == 0 and not b.skipped_by for b in ended.batches)
    assert median(ended.losses(100, 120)) < 0.9 * median(ended.losses(0, 20))
    changes = [record for record in ended.records if isinstance(record, SettingChanged)]
    assert all(change.reason for change in changes)


@pytest.mark.parametrize("training", ["mlp", "cnn", "chars"])
@pytest.mark.parametrize("fault", ["NaN in one sample", "infinite activation", "NaN in one gradient element"])
def test_what_is_not_finite_is_told_with_its_own_batch_and_none_before(
    tmp_path: Path, training: str, fault: str
) -> None:
    ended = run(tmp_path, fault, training=training)
    assert next(at for at, b in enumerate(ended.batches) if b.nonfinite) == AT
    assert ended.batches[AT].nonfinite & Nonfinite.GRADIENT
    assert math.isfinite(ended.batches[AT].loss or 0.0) == (fault == "NaN in one gradient element")


def test_gradients_are_multiplied_in_the_norm_that_the_hooks_see(tmp_path: Path) -> None:
    ended = run(tmp_path, "gradients multiplied", strength=100.0, lasts=10)
    assert median(ended.norms(AT, AT + 10)) > 30 * median(ended.norms(AT - 20, AT))


def test_the_learning_rate_is_multiplied_for_as_long_as_was_asked(tmp_path: Path) -> None:
    ended = run(tmp_path, "learning rate multiplied", strength=10.0, lasts=10)
    high = [at for at, b in enumerate(ended.batches) if b.learning_rates[0] > 0.2]
    assert high == list(range(AT, AT + 10))


def test_shuffled_labels_raise_the_loss(tmp_path: Path) -> None:
    ended = run(tmp_path, "labels shuffled", strength=1.0)
    assert ended.losses(AT, AT + 1)[0] > 3 * median(ended.losses(AT - 20, AT))


def test_a_flipped_loss_is_negative(tmp_path: Path) -> None:
    ended = run(tmp_path, "loss sign flipped")
    assert [at for at, loss in enumerate(ended.losses(0, 100)) if loss < 0] == [AT]


def test_without_zero_grad_the_norm_is_that_of_a_sum(tmp_path: Path) -> None:
    ended = run(tmp_path, "zero_grad missing", lasts=0)
    assert ended.norms(AT + 15, AT + 16)[0] > 2 * median(ended.norms(AT - 20, AT))


def test_frozen_weights_do_not_move_any_more(tmp_path: Path) -> None:
    ended = run(tmp_path, "weights frozen", lasts=0)
    assert all(norm == 0.0 for norm in ended.norms(AT + 1, 100))
    assert len(set(ended.losses(AT, 100))) > 1
    assert not any(p.requires_grad for p in ended.training.parts.model.parameters())


def test_a_flipped_bit_ruins_its_own_batch(tmp_path: Path) -> None:
    ended = run(tmp_path, "bit flip in an exponent", strength=30.0, lasts=0, batches=AT + 1)
    assert max(ended.losses(AT - 20, AT)) < 10.0
    assert not ended.losses(AT, AT + 1)[0] < 1e6  # huge, or not a number


def test_a_poisoned_norm_shows_in_no_loss_but_in_the_checkpoint(tmp_path: Path) -> None:
    ended = run(tmp_path, "BatchNorm poisoned", training="cnn", batches=200, lasts=0)
    assert all(math.isfinite(loss) for loss in ended.losses(0, 200))
    (verdict,) = (tmp_path / "stream.verdicts").read_bytes().splitlines()
    assert b'"poisoned"' in verdict
    assert b"running_var" in verdict


def test_slower_batches_take_as_much_longer_as_was_asked(tmp_path: Path) -> None:
    ended = run(tmp_path, "slower", strength=4.0, lasts=0)
    times = [b.batch_s for b in ended.batches if b.batch_s is not None]
    assert median(times[AT:]) > 2 * median(times[40:AT])


def test_what_is_not_about_time_is_told_in_processor_time(tmp_path: Path) -> None:
    quick = Experiment("mlp", 1, 10)
    assert not quick.on_the_wall
    assert Experiment("mlp", 1, 10, period_s=0.01).on_the_wall
    clock = clock_of(quick)
    before_s, wall_s = clock(), time.monotonic()
    time.sleep(0.2)
    assert time.monotonic() - wall_s >= 0.2
    assert clock() - before_s < 0.1


def test_a_hang_is_one_long_batch(tmp_path: Path) -> None:
    ended = run(tmp_path, "hang", strength=0.5)
    assert [at for at, b in enumerate(ended.batches) if (b.batch_s or 0.0) > 0.45] == [AT]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_memory_that_is_held_shows_in_what_the_allocator_reserves(tmp_path: Path) -> None:
    experiment = Experiment("cnn", 5, 100, fault="memory held", strength=0.02, at=AT, lasts=1, device="cuda")
    probe = FileProbe(tmp_path / "stream.jsonl", experiment.kind, {})
    Training(experiment, probe, tmp_path / "last.pt").run()
    probe.close()
    records = [r.record for r in read_stream((tmp_path / "stream.jsonl").read_bytes()).records]
    held = [record.memory_allocated or 0 for record in records if isinstance(record, BatchEnded)]
    capacity = torch.cuda.get_device_properties(0).total_memory
    assert held[AT] - held[AT - 1] >= 0.019 * capacity


def test_a_checkpoint_is_saved_and_examined_each_epoch(tmp_path: Path) -> None:
    run(tmp_path, "", batches=200)
    lines = (tmp_path / "stream.verdicts").read_bytes().splitlines()
    assert len(lines) == 1
    assert b'"sound"' in lines[0]
    assert torch.load(tmp_path / "last.pt", weights_only=True)["epoch"] == 0
