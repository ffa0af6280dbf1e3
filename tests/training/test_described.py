"""The description of Ultralytics is what a real training of it does: files, keys, names, clip."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.harness.recorder import RecordingProbe
from tests.harness.yolo import Ended, Lab, train
from trainer_hooks.integrations.ultralytics.framework import FRAMEWORK
from trainer_hooks.wire.framework_description import CheckpointKeys, SavedFiles

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]
FILES, KEYS, NAMES = FRAMEWORK.files, FRAMEWORK.checkpoint, FRAMEWORK.settings


@pytest.fixture(scope="module")
def saved() -> list[dict[str, Any]]:
    """What the trainer saved after each epoch."""
    return []


@pytest.fixture(scope="module")
def ended(lab: Lab, tmp_path_factory: pytest.TempPathFactory, saved: list[dict[str, Any]]) -> Ended:
    """Two epochs that keep a checkpoint of each."""
    from ultralytics.utils.patches import torch_load

    folder = tmp_path_factory.mktemp("described")
    probe = RecordingProbe(folder)

    def keep(trainer: Any) -> None:
        saved.append(torch_load(trainer.last, map_location="cpu"))

    over = train(
        lab.arguments(folder / "project", epochs=2, save_period=1), lab.model, probe, callbacks={"on_model_save": keep}
    )
    assert over.error is None
    return over


def files() -> SavedFiles:
    assert FILES is not None
    return FILES


def keys() -> CheckpointKeys:
    assert KEYS is not None
    return KEYS


def test_its_files_are_where_the_description_says(ended: Ended) -> None:
    save_dir = Path(ended.trainer.save_dir)
    weights = save_dir / files().folder
    assert ended.trainer.last == weights / files().last
    assert ended.trainer.best == weights / files().best
    epochs = [re.fullmatch(files().epoch_pattern, path.name) for path in weights.iterdir()]
    assert sorted(int(found[1]) - files().epoch_first for found in epochs if found) == [0, 1]
    assert files().last.startswith(files().resumable_prefix)
    rows = (save_dir / files().results).read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == [1, 2]


def test_its_checkpoints_have_the_keys_that_the_description_names(ended: Ended, saved: list[dict[str, Any]]) -> None:
    assert ended.faults.fired == []
    assert [one[keys().epoch] - keys().epoch_first for one in saved] == [0, 1]
    named = {keys().model, keys().ema, keys().optimizer, keys().best_fitness, keys().updates, keys().arguments}
    for one in saved:
        assert named | {*keys().identifying} | {*keys().records} <= one.keys()
        assert one[keys().optimizer] is not None


def test_after_training_they_are_stripped_as_the_description_says(ended: Ended) -> None:
    from ultralytics.utils.patches import torch_load

    for path in (ended.trainer.last, ended.trainer.best):
        stripped = torch_load(path, map_location="cpu")
        assert stripped[keys().epoch] == keys().epoch_stripped
        assert stripped[keys().optimizer] is None


def test_its_settings_have_the_names_of_the_description(ended: Ended) -> None:
    (started,) = ended.probe.starts
    assert started.framework == FRAMEWORK.name
    assert FRAMEWORK.name in started.versions
    one_by_one = {
        NAMES.learning_rate, NAMES.momentum, NAMES.weight_decay, NAMES.warmup_epochs, NAMES.warmup_bias_rate,
        NAMES.final_share, NAMES.cosine,
    }  # fmt: skip
    assert one_by_one | {*NAMES.learning_rates} | {*NAMES.shown} <= started.settings.keys()
    assert NAMES.learning_rate in NAMES.learning_rates


def test_it_clips_at_the_norm_of_the_description(ended: Ended) -> None:
    clips = {record.clip_norm for record in ended.probe.batches if record.clip_norm is not None}
    assert clips == {FRAMEWORK.clip_norm}


@pytest.mark.parametrize(
    ("device", "broken"),
    [
        ("NVIDIA GeForce GTX 1660 Ti", True), ("Quadro T1000", True), ("Tesla K40m", True),
        ("NVIDIA H100 80GB HBM3", False), ("Tesla T4", False), ("NVIDIA GeForce RTX 4090", False),
    ],
)  # fmt: skip
def test_the_devices_that_it_refuses_mixed_precision_on(device: str, broken: bool) -> None:
    assert bool(re.search(FRAMEWORK.broken_amp_devices, device)) == broken
