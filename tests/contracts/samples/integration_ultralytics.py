"""Ultralytics, really trained, held to the contract of integrations. Needs ultralytics; a few seconds each."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness.torch_names import step_hooks
from tests.harness.yolo import BATCH, Lab, go_offline, make_lab
from trainer_hooks.steps import MARK

MARKS = [pytest.mark.training, pytest.mark.filterwarnings("default")]
EPOCHS, BATCHES = 2, 2


@functools.cache
def lab() -> Lab:
    """Two batches of images, drawn once."""
    pytest.importorskip("ultralytics")
    folder = Path(tempfile.mkdtemp(prefix="contract-"))
    go_offline(folder / "config")
    return make_lab(folder, images=BATCHES * BATCH)


def train(connect: Callable[[Any], Any], folder: Path) -> tuple[int, int]:
    """Train to the end; the batches that were trained, and the hooks of ours that are left on the optimizer."""
    shared = lab()
    import ultralytics.engine.trainer as trainer_module
    from ultralytics import YOLO

    from trainer_hooks.integrations.ultralytics import attach, detach

    attach(trainer_module, connect=connect)
    yolo = YOLO(str(shared.model))
    trained = []
    yolo.add_callback("on_train_batch_end", lambda trainer: trained.append(trainer.epoch))
    try:
        yolo.train(**shared.arguments(folder, epochs=EPOCHS, val=False))
    finally:
        detach(trainer_module)
    optimizer = yolo.trainer.optimizer
    return len(trained), step_hooks(optimizer) + hasattr(optimizer.step, MARK)
