"""A real training of a tiny detector, once per session: its checkpoints are what every damage is planted in."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.vault.verify import Examination, examine_file

TRAIN = """
from pathlib import Path
import ultralytics
from ultralytics import YOLO
folder = Path.cwd()
text = (Path(ultralytics.__file__).parent / "cfg/models/v8/yolov8.yaml").read_text()
(folder / "yolov8n-tiny.yaml").write_text(text.replace("[0.33, 0.25, 1024]", "[0.33, 0.125, 256]"))
YOLO(str(folder / "yolov8n-tiny.yaml")).train(
    data=str(folder / "data.yaml"), epochs=2, imgsz=64, batch=8, workers=0, device="cpu", amp=False, plots=False,
    optimizer="SGD", lr0=0.01, nbs=8, warmup_epochs=1, close_mosaic=0, save_period=1, verbose=False,
    project=str(folder / "runs"), name="t")
"""


def _draw(folder: Path) -> None:
    """16 images of one bright rectangle each, with their labels."""
    from PIL import Image

    random = np.random.default_rng(7)
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for index in range(16):
        image = random.integers(0, 60, (64, 64, 3), dtype=np.uint8)
        x, y = random.integers(4, 36, 2)
        image[y : y + 20, x : x + 24] = 220
        Image.fromarray(image).save(folder / "images" / f"{index}.png")
        box = ((x + 12) / 64, (y + 10) / 64, 24 / 64, 20 / 64)
        (folder / "labels" / f"{index}.txt").write_text("0 " + " ".join(f"{value:.4f}" for value in box))
    (folder / "data.yaml").write_text(f"path: {folder}\ntrain: images\nval: images\nnames: {{0: box}}\n")


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights folder of a finished training: epoch1.pt as saved in training, last.pt as stripped at its end."""
    import matplotlib

    folder = tmp_path_factory.mktemp("training")
    _draw(folder)
    fonts = folder / "config" / "Ultralytics"
    fonts.mkdir(parents=True)
    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    (fonts / "Arial.ttf").write_bytes(font.read_bytes())
    offline = {
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_CONFIG_DIR": str(fonts.parent),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", TRAIN]
    done = subprocess.run(command, cwd=folder, env=os.environ | offline, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "runs" / "t" / "weights"


@pytest.fixture(scope="session")
def saved(weights: Path) -> Path:
    """A checkpoint as Ultralytics wrote it during the training, with its optimizer."""
    return weights / "epoch1.pt"


Damage = Callable[[dict[str, Any]], None]


@pytest.fixture
def damaged(saved: Path, tmp_path: Path) -> Callable[[Damage], Path]:
    """Writes the checkpoint again after a change to what torch.load makes of it."""
    import torch

    def write(change: Damage) -> Path:
        checkpoint = torch.load(saved, weights_only=False)
        change(checkpoint)
        torch.save(checkpoint, tmp_path / "damaged.pt")
        return tmp_path / "damaged.pt"

    return write


def examined(path: Path, *, seen_saved: bool = False) -> Examination:
    """What the child would find, without the child: ten times as fast."""
    with path.open("rb") as file:
        return examine_file(file, None, seen_saved=seen_saved)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
