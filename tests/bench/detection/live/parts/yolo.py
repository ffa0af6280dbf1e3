"""A real Ultralytics training of a tiny model on shapes that are drawn here; opens no connection."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from monitor.demo.scene import BATCHES_PER_EPOCH, lay_out
from tests.bench.detection.live.experiment import Experiment
from tests.bench.detection.live.parts.injections import FAULTS, Injection, Target
from tests.bench.detection.live.parts.sink import FileProbe

BATCH_IMAGES = 4
MIDDLE_LAYER = 6  # of the model's 22


def train(experiment: Experiment, probe: FileProbe, folder: Path) -> None:
    """Train as many whole epochs as give the experiment's batches; data and model lie below `folder` afterwards."""
    scene_folder = folder / "scene"
    if not scene_folder.exists():
        scene = lay_out(scene_folder, receiver_url="")
        os.environ.update(scene.environment(dict(os.environ)))  # before the first import of Ultralytics
    import ultralytics.engine.trainer as trainer_module
    from ultralytics import YOLO

    from trainer_hooks.integrations.ultralytics import attach

    attach(trainer_module, connect=lambda _: probe)
    model = YOLO(scene_folder / "yolov8n-tiny.yaml")
    place = Place(experiment)
    model.add_callback("on_pretrain_routine_end", place.set_up)
    model.add_callback("on_train_batch_end", place.batch_ended)
    model.train(
        data=scene_folder / "data" / "data.yaml",
        epochs=-(-experiment.batches // BATCHES_PER_EPOCH),
        imgsz=64,
        batch=BATCH_IMAGES,
        nbs=BATCH_IMAGES,
        optimizer="SGD",
        lr0=0.01,
        warmup_epochs=0.5,
        close_mosaic=0,
        project=scene_folder / "runs",
        name="live",
        exist_ok=True,
        device=experiment.device,
        workers=0,
        amp=False,
        plots=False,
        verbose=False,
        seed=experiment.seed,
    )


class Place:
    """Where in the training we are, and what is done to it there."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._at = 0
        self._began_s = 0.0
        self._injection: Injection | None = None

    def set_up(self, trainer: Any) -> None:
        """The trainer is built; called before the hooks come between it and its batches."""
        layers = trainer.model.model
        target = Target(trainer.model, trainer.optimizer, layers[0], layers[MIDDLE_LAYER])
        injection = self._injection = FAULTS[self._experiment.fault](self._experiment, target)
        prepare = trainer.preprocess_batch

        def preprocess_batch(batch: dict[str, Any]) -> dict[str, Any]:
            prepared: dict[str, Any] = prepare(batch)
            self._began_s = time.monotonic()
            injection.begin(self._at)
            prepared["cls"] = injection.labels(prepared["cls"])
            return prepared

        trainer.preprocess_batch = preprocess_batch

    def batch_ended(self, _: Any) -> None:
        """One more is done."""
        if self._injection is not None:
            self._injection.wait(time.monotonic() - self._began_s)
        self._at += 1
