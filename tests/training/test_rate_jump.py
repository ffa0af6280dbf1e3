"""A rate that a user's callback multiplies through the scheduler's base is reported at its batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.harness.recorder import RecordingProbe
from tests.harness.yolo import Lab, train
from trainer_hooks.wire.messages import SettingChanged

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]
FACTOR = 30.0
AT_EPOCH = 5  # from 1; the warm-up is over: of older releases it lasts at least 100 batches, three epochs and more here


def multiply(trainer: Any) -> None:
    """Once, so that the schedule itself goes on from the new height."""
    if trainer.epoch + 1 == AT_EPOCH:
        trainer.scheduler.base_lrs = [base * FACTOR for base in trainer.scheduler.base_lrs]
        for group in trainer.optimizer.param_groups:
            group["lr"] *= FACTOR
            group["initial_lr"] *= FACTOR


def rate_changes(probe: RecordingProbe) -> list[SettingChanged]:
    return [change for change in probe.of(SettingChanged) if change.name.startswith("learning_rate/")]


@pytest.mark.parametrize("schedule", [{}, {"cos_lr": True}], ids=["linear", "cosine"])
def test_a_rate_multiplied_through_the_schedulers_base_is_unexplained_at_its_batch_and_once(
    lab: Lab, probe: RecordingProbe, tmp_path: Path, schedule: dict[str, Any]
) -> None:
    arguments = lab.arguments(tmp_path, epochs=8, batch=2, nbs=2, val=False, **schedule)
    ended = train(arguments, lab.model, probe, callbacks={"on_train_epoch_start": multiply})
    assert ended.error is None
    found = rate_changes(probe)
    assert {(change.epoch, change.batch, change.reason) for change in found} == {(AT_EPOCH, 0, "")}
    assert len(found) == 3
    assert all(float(change.new) > 0.5 * FACTOR * float(change.old) for change in found)


def test_the_schedules_own_rates_are_never_reported(lab: Lab, probe: RecordingProbe, tmp_path: Path) -> None:
    train(lab.arguments(tmp_path, epochs=6, batch=4, nbs=4, val=False, cos_lr=True), lab.model, probe)
    assert rate_changes(probe) == []
