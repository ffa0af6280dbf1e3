"""Every batch is recorded once and under its number, whoever prepares it, and however often."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness.recorder import RecordingProbe
from tests.harness.yolo import Faults, Lab, train
from trainer_hooks.wire.messages import HookTrouble

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]


def past_ours(trainer: Any, _ours: Callable[..., Any]) -> Callable[..., Any]:
    """What the trainer's class has, without what came between."""
    return lambda batch: type(trainer).preprocess_batch(trainer, batch)


def twice(_trainer: Any, ours: Callable[..., Any]) -> Callable[..., Any]:
    """A script that prepares another copy of the batch, as for a second model."""

    def prepare(batch: dict[str, Any]) -> Any:
        ours(dict(batch))
        return ours(batch)

    return prepare


class PreparesItself(Faults):
    """A script that puts its own function in place once the training has begun."""

    def __init__(self, way: Callable[[Any, Callable[..., Any]], Callable[..., Any]]) -> None:
        super().__init__()
        self.way = way

    def _poison_criterion(self, trainer: Any) -> None:
        trainer.preprocess_batch = self.way(trainer, trainer.preprocess_batch)


@pytest.mark.parametrize("way", [past_ours, twice])
def test_every_batch_is_recorded_once_and_under_its_number(
    lab: Lab, probe: RecordingProbe, tmp_path: Path, way: Callable[..., Any]
) -> None:
    ended = train(lab.arguments(tmp_path, epochs=2), lab.model, probe, PreparesItself(way))
    assert ended.error is None
    assert probe.of(HookTrouble) == []
    recorded = [(each.epoch, each.batch, each.counts.batches) for each in probe.batches]
    numbers = [(epoch, batch) for epoch in (1, 2) for batch in range(lab.batches)]
    assert recorded == [(*place, count) for count, place in enumerate(numbers, 1)]
