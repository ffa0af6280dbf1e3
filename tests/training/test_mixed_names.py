"""Every image that is mixed into a batch is named in its evidence, in real trainings."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from monitor.core.state.blame import blamed
from monitor.core.state.run import TrainingState
from tests.harness.recorder import RecordingProbe
from tests.harness.yolo import BATCH, Faults, Lab, make_lab, train
from trainer_hooks.integrations.ultralytics.mixed_names import MixedName
from trainer_hooks.wire.messages import HookTrouble, NonfiniteSeen

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]
GREEN = "0007.png"
PLAIN_COLOURS = {"hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0}


@pytest.fixture
def one_green(lab: Lab, tmp_path: Path) -> Lab:
    """A data set with one image that is plain green, which no other is."""
    made = make_lab(tmp_path / "green", images=64)
    path = made.data.parent / "images" / "train" / GREEN
    cv2.imwrite(str(path), np.full((64, 64, 3), (0, 255, 0), np.uint8))
    return made


class GreenIsBad(Faults):
    """A batch that shows the green image gets a NaN pixel."""

    def _set_up(self, trainer: Any) -> None:
        prepare = trainer.preprocess_batch

        def poisoned(batch: dict[str, Any]) -> dict[str, Any]:
            self.samples.append(tuple(batch["im_file"]))
            prepared: dict[str, Any] = prepare(batch)
            red, green, blue = prepared["img"].unbind(1)
            if bool(((green > 0.95) & (red < 0.05) & (blue < 0.05)).any()):
                self.fired.append(self.place)
                prepared["img"][0, 0, 5, 5] = float("nan")
            return prepared

        trainer.preprocess_batch = poisoned


@pytest.mark.parametrize("mixing", [{"workers": 0}, {"workers": 2}, {"mosaic": 0.0, "cutmix": 1.0}])
def test_the_bad_image_is_named_in_every_batch_that_shows_it(
    one_green: Lab, probe: RecordingProbe, tmp_path: Path, mixing: dict[str, Any]
) -> None:
    faults = GreenIsBad()
    arguments = one_green.arguments(tmp_path, epochs=4, **PLAIN_COLOURS, **mixing)
    ended = train(arguments, one_green.model, probe, faults)
    assert ended.error is None
    assert probe.of(HookTrouble) == []
    seen = probe.of(NonfiniteSeen)
    assert len(faults.fired) >= 4, "the green image was shown too seldom: this test shows nothing"
    assert [(each.epoch, each.batch) for each in seen] == faults.fired
    assert all(any(Path(name).name == GREEN for name in each.samples) for each in seen)
    assert not any(each.samples_partial for each in seen)
    assert all(len(each.samples) > BATCH for each in seen)
    assert all(type(name) is str for names in faults.samples for name in names)


def test_both_mosaics_of_a_mixup_are_named(lab: Lab, probe: RecordingProbe, tmp_path: Path) -> None:
    train(lab.arguments(tmp_path, mixup=1.0, epochs=1), lab.model, probe, Faults(pixels={(1, 6)}))
    (seen,) = probe.of(NonfiniteSeen)
    assert len(set(seen.samples)) > 4 * BATCH
    assert not seen.samples_partial


def test_the_bad_image_of_a_training_with_mosaic_is_blamed(
    one_green: Lab, probe: RecordingProbe, tmp_path: Path
) -> None:
    arguments = one_green.arguments(tmp_path, epochs=9, val=False, **PLAIN_COLOURS)
    train(arguments, one_green.model, probe, GreenIsBad())
    (started,) = probe.starts
    assert started.samples == 64
    training = TrainingState(1, generation=1, started=started)
    training.nonfinite_log = [(1, seen) for seen in probe.of(NonfiniteSeen)]
    found = blamed(training)
    assert [Path(name).name for name in found.samples] == [GREEN]
    assert found.explains


def test_a_mixed_name_is_its_text_and_survives_the_way_from_a_loaders_process() -> None:
    name = MixedName("a.png", ("b.png", "c.png"))
    again = pickle.loads(pickle.dumps(name))
    assert (again, again.mixed, hash(again)) == ("a.png", ("b.png", "c.png"), hash("a.png"))
    assert type(str(again)) is str
    assert Path(again).name == "a.png"
    assert torch.utils.data.default_collate([name, name]) == ["a.png", "a.png"]
