"""The folder that the demo lays out, and the fault in it."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from monitor.demo.scene import PARTS, SceneError, installed, lay_out
from monitor.policyfile.load import load_policy

RECEIVER = "http://127.0.0.1:1/alerts"


def test_the_folder_holds_a_policy_that_differs_from_the_default_only_where_it_says(tmp_path: Path) -> None:
    policy = load_policy(lay_out(tmp_path / "night", RECEIVER).policy)
    default = type(policy)()
    assert policy.webhooks[0].url.get_secret_value() == RECEIVER
    assert policy.detectors == default.detectors
    assert policy.when_clean == "rollback"
    assert policy.rollback == default.rollback
    assert policy.strengthen == default.strengthen.model_copy(update={"warmup_epochs": 0.5})


def test_the_script_is_copied_as_it_is_and_knows_nothing_of_trainwarden(tmp_path: Path) -> None:
    scene = lay_out(tmp_path / "night", RECEIVER)
    assert scene.script.read_bytes() == (PARTS / "train.py").read_bytes()
    code = scene.script.read_text().partition('"""')[2].partition('"""')[2]
    assert "trainwarden" not in code
    assert "monitor" not in code


def test_the_training_is_offline_and_sees_nothing_of_another_run(tmp_path: Path) -> None:
    scene = lay_out(tmp_path / "night", RECEIVER)
    environment = scene.environment({"PYTHONPATH": "mine", "TRAINWARDEN_RUN": "another", "PATH": "/bin"})
    assert environment["PYTHONPATH"] == f"{scene.fault}{os.pathsep}mine"
    assert "TRAINWARDEN_RUN" not in environment
    assert environment["TRAINWARDEN_HOME"] == str(scene.home)
    assert environment["YOLO_OFFLINE"] == "true"
    assert (Path(environment["YOLO_CONFIG_DIR"]) / "Ultralytics" / "Arial.ttf").stat().st_size > 0


def test_a_folder_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SceneError, match="is not empty"):
        lay_out(tmp_path, RECEIVER)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_too_deep_for_sockets_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 80)
    with pytest.raises(SceneError, match="too long"):
        lay_out(deep, RECEIVER)
    assert not deep.exists()


def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(SceneError, match=r"no_such_package.*pip install 'trainwarden\[ultralytics\]'"):
        installed("no_such_package")


@pytest.fixture
def fault() -> Any:
    finders = list(sys.meta_path)
    loaded = runpy.run_path(str(PARTS / "fault" / "sitecustomize.py"))
    sys.meta_path[:] = finders
    return SimpleNamespace(**loaded)


def trainer_at(rate: float) -> SimpleNamespace:
    return SimpleNamespace(scheduler=SimpleNamespace(base_lrs=[rate]))


def test_the_fault_overflows_at_the_scripts_rate_and_rounds_at_half_of_it(fault: Any) -> None:
    images = torch.rand(2, 3, 8, 8)
    images[0, 0, 0, 0], images[1, 2, 3, 4] = 1.0, 0.0
    whole, half = (fault.multiplied(trainer_at(rate), images) for rate in (0.01, 0.005))
    assert whole.isinf().any()
    assert not whole.isnan().any()
    assert torch.allclose(half, images, rtol=2**-10, atol=1e-6)


def test_the_fault_starts_at_batch_32_of_epoch_4_and_hits_one_batch_in_ten(fault: Any) -> None:
    assert fault.ONSET == (4, 32)
    assert 32 in fault.POSITIONS
    assert len(fault.POSITIONS) == 8
    assert max(fault.POSITIONS) < 80
