"""Whatever is given to `watch` and whatever fails in it, the hand-written loop trains on."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.harness.plain_bench import Bench
from tests.harness.recorder import RecordingProbe
from trainer_hooks.integrations.plain import watch
from trainer_hooks.trainings import TrainingName
from trainer_hooks.wire.messages import (
    HookTrouble,
    TrainingStarted,
)


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
