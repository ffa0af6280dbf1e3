"""The checkpoint that a training is resumed from is examined at the start, like one that it saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.harness.recorder import RecordingProbe
from tests.harness.yolo import Faults, Lab, train
from trainer_hooks.wire.messages import HookTrouble

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]


def break_off(trainer: Any, place: tuple[int, int]) -> None:
    if place == (3, 1):
        raise RuntimeError("the power went")


def test_a_resumed_training_hands_over_what_it_goes_on_from(lab: Lab, probe: RecordingProbe, tmp_path: Path) -> None:
    first = RecordingProbe(probe.identity.folder.root)
    train(lab.arguments(tmp_path), lab.model, first, Faults(at_batch_end=break_off))
    last = tmp_path / "run" / "weights" / "last.pt"
    before = last.read_bytes()
    ended = train({"resume": True}, last, probe)
    assert ended.error is None
    assert probe.of(HookTrouble) == []
    assert [(each["epoch"], each["batches"], each["resumed"]) for each in first.checkpoints] == [
        (1, 8, False),
        (2, 16, False),
    ]
    assert [(each["epoch"], each["batches"], each["resumed"]) for each in probe.checkpoints] == [
        (2, 0, True),
        (3, 8, False),
    ]
    assert probe.checkpoints[0]["source"] == last
    assert probe.checkpoints[0]["bytes"] == before


def test_a_training_that_starts_from_nothing_hands_over_nothing(
    lab: Lab, probe: RecordingProbe, tmp_path: Path
) -> None:
    train(lab.arguments(tmp_path, epochs=1), lab.model, probe)
    assert [each["resumed"] for each in probe.checkpoints] == [False]
