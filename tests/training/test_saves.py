"""What is said of a checkpoint is true of the file: of an average healed at the save, of a file stripped at the end."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.harness.recorder import RecordingProbe
from tests.harness.yolo import Faults, Lab, Place, faults_of, train

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]


class Copying(RecordingProbe):
    """Looks, when the hooks wait for the copies, whether the file is still the one that was saved."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.still_saved: list[bool] = []

    def copied(self, timeout_s: float) -> bool:
        last = self.checkpoints[-1]
        self.still_saved.append(last["source"].read_bytes() == last["bytes"])
        return super().copied(timeout_s)


def stop_after_the_save(trainer: Any) -> None:
    trainer.stop = trainer.epoch >= 1


def interrupt_nothing(trainer: Any) -> None:
    assert trainer.epoch >= 0


@pytest.mark.parametrize("callback", [stop_after_the_save, interrupt_nothing])
def test_the_last_file_is_copied_before_the_trainer_strips_it(lab: Lab, tmp_path: Path, callback: Any) -> None:
    """A callback may end the training after the save, where nothing had told the hooks that it was the last."""
    root = tmp_path / "run-folder"
    root.mkdir()
    probe = Copying(root)
    ended = train(lab.arguments(tmp_path), lab.model, probe, callbacks={"on_fit_epoch_end": callback})
    assert ended.error is None
    assert len(probe.checkpoints) == (2 if callback is stop_after_the_save else 3)
    assert probe.still_saved == [True]
    assert Path(ended.trainer.last).read_bytes() != probe.checkpoints[-1]["bytes"], "the trainer has stripped nothing"
    assert "final_eval" not in vars(ended.trainer), "a hook was left on the trainer"


def break_the_average(lab: Lab) -> Faults:
    faults = Faults()

    def at_batch_end(trainer: Any, place: Place) -> None:
        if place == (2, lab.batches - 1):
            faults.fired.append(place)
            with torch.no_grad():
                for name, parameter in trainer.ema.ema.named_parameters():
                    if ".bn." in name:
                        parameter.fill_(float("nan"))

    faults.at_batch_end = at_batch_end
    return faults


def test_an_average_that_the_trainer_heals_as_it_saves_is_no_finding(
    lab: Lab, probe: RecordingProbe, tmp_path: Path
) -> None:
    """Newer releases put the live weights in the place of a bad average before they save: the file is whole."""
    ended = train(lab.arguments(tmp_path), lab.model, probe, break_the_average(lab))
    assert (ended.error, ended.faults.fired) == (None, [(2, lab.batches - 1)])
    second = probe.checkpoints[1]
    if faults_of(second["bytes"]):
        pytest.skip("this release does not heal the average")
    assert [one["state_finding"] for one in probe.checkpoints] == ["", "", ""]


def without_healing() -> type:
    """As releases before 8.4.100 saved: NaN becomes zero in the file, and the average stays as it is."""
    from ultralytics.models.yolo.detect import DetectionTrainer

    class WithoutHealing(DetectionTrainer):  # type: ignore[misc]
        def save_model(self) -> bool:
            average = copy.deepcopy(self.ema.ema).half()
            for value in average.state_dict().values():
                if value.is_floating_point():
                    torch.nan_to_num_(value)
            torch.save({"epoch": self.epoch, "ema": average, "model": None, "optimizer": None}, self.last)
            return True

    return WithoutHealing


def test_an_average_that_is_saved_as_zeros_stays_a_finding(lab: Lab, probe: RecordingProbe, tmp_path: Path) -> None:
    ended = train(lab.arguments(tmp_path), lab.model, probe, break_the_average(lab), trainer=without_healing())
    assert ended.faults.fired == [(2, lab.batches - 1)]
    first, second = probe.checkpoints[:2]
    assert first["state_finding"] == ""
    assert second["state_finding"].startswith("non-finite: average of model.0.bn.weight")
