"""One offline lab for all real trainings of a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.harness.recorder import RecordingProbe
from tests.harness.yolo import Lab, go_offline, make_lab


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """64 images of shapes and a model of 0.35 M parameters: 8 batches an epoch, about half a second."""
    go_offline(tmp_path_factory.mktemp("yolo-config"))
    return make_lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture
def probe(tmp_path: Path) -> RecordingProbe:
    """Takes what the hooks tell."""
    root = tmp_path / "run-folder"
    root.mkdir()
    return RecordingProbe(root)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors are slower on many threads, and the other tests want some too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
