"""Real Ultralytics trainings, as small as they can be, with faults put into their batches. Needs ultralytics."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tests.harness import shapes
from tests.harness.recorder import RecordingProbe
from tests.harness.torch_names import scaler_on_cpu

TINY_WIDTHS = ("n: [0.33, 0.25, 1024]", "n: [0.33, 0.125, 256]")  # yolov8n's own, and 0.35 M parameters
BATCH = 8


def go_offline(folder: Path) -> None:
    """Set up a configuration folder and an environment with which Ultralytics opens no connection.

    Has to come before the first import of ultralytics.
    """
    import matplotlib

    os.environ.update(YOLO_CONFIG_DIR=str(folder), YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false")
    (folder / "Ultralytics").mkdir(parents=True, exist_ok=True)
    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    shutil.copy(font, folder / "Ultralytics" / "Arial.ttf")


@dataclass(frozen=True)
class Lab:
    """A data set and a model that trainings share."""

    data: Path
    model: Path
    images: int

    @property
    def batches(self) -> int:
        """Of one epoch."""
        return self.images // BATCH

    def arguments(self, project: Path, **overrides: Any) -> dict[str, Any]:
        """Arguments of YOLO.train for a training of three short epochs in `project`/run."""
        return {
            "data": str(self.data),
            "epochs": 3,
            "imgsz": 32,
            "batch": BATCH,
            "workers": 0,
            "device": "cpu",
            "amp": False,
            "plots": False,
            "pretrained": False,
            "optimizer": "SGD",
            "lr0": 0.01,
            "nbs": BATCH,
            "warmup_epochs": 1,
            "close_mosaic": 0,
            "project": str(project),
            "name": "run",
            "exist_ok": True,
            "verbose": False,
            **overrides,
        }


def make_lab(folder: Path, images: int = 64, val: int = BATCH) -> Lab:
    """Draw the data set and write the tiny model's YAML."""
    import ultralytics

    data = shapes.draw(folder / "shapes", train=images, val=val, size=64)
    yaml = Path(ultralytics.__file__).parent / "cfg" / "models" / "v8" / "yolov8.yaml"
    text = yaml.read_text()
    assert TINY_WIDTHS[0] in text
    model = folder / "yolov8n-tiny.yaml"
    model.write_text(text.replace(*TINY_WIDTHS))
    return Lab(data, model, images)


Place = tuple[int, int]  # epoch from 1, batch from 0


@dataclass
class Faults:
    """What to do to a training, as a user's callbacks. `fired` lists where a fault really happened."""

    pixels: set[Place] = field(default_factory=set)  # a NaN pixel: the forward pass is poisoned
    losses: set[Place] = field(default_factory=set)  # a NaN loss after a clean forward pass
    scaler: bool = False  # train with a gradient scaler that is on
    at_batch_end: Callable[[Any, Place], None] | None = None
    fired: list[Place] = field(default_factory=list)
    redone: list[int] = field(default_factory=list)  # epochs the built-in recovery threw away
    samples: list[tuple[str, ...]] = field(default_factory=list)  # of every batch, by name
    place: Place = (0, -1)

    def callbacks(self) -> Mapping[str, Callable[[Any], None]]:
        """To be added to the YOLO object, so before the hooks' own."""
        return {
            "on_pretrain_routine_end": self._set_up,
            "on_train_start": self._poison_criterion,
            "on_train_epoch_start": self._epoch_starts,
            "on_train_batch_start": self._batch_starts,
            "on_train_batch_end": self._batch_ends,
        }

    def _set_up(self, trainer: Any) -> None:
        if self.scaler:
            trainer.scaler = scaler_on_cpu()
        prepare, recover = trainer.preprocess_batch, trainer._handle_nan_recovery

        def poisoned(batch: dict[str, Any]) -> dict[str, Any]:
            prepared: dict[str, Any] = prepare(batch)
            self.samples.append(tuple(batch["im_file"]))
            if self.place in self.pixels:
                self.fired.append(self.place)
                prepared["img"][0, 0, 5, 5] = float("nan")
            return prepared

        def counted(epoch: int) -> bool:
            redo = bool(recover(epoch))
            if redo:
                self.redone.append(epoch + 1)
            return redo

        trainer.preprocess_batch = poisoned
        trainer._handle_nan_recovery = counted

    def _poison_criterion(self, trainer: Any) -> None:
        if not self.losses:
            return
        criterion = trainer.model.init_criterion()

        def poisoned(preds: Any, batch: Any) -> Any:
            loss, items = criterion(preds, batch)
            if self.place in self.losses and trainer.model.training:
                self.fired.append(self.place)
                nan = float("nan")
                by_name = isinstance(items, dict)  # one stacked tensor in older releases
                return loss * nan, {name: nan * value for name, value in items.items()} if by_name else items * nan
            return loss, items

        trainer.model.criterion = poisoned

    def _epoch_starts(self, trainer: Any) -> None:
        self.place = (trainer.epoch + 1, -1)

    def _batch_starts(self, trainer: Any) -> None:
        self.place = (trainer.epoch + 1, self.place[1] + 1)

    def _batch_ends(self, trainer: Any) -> None:
        if self.at_batch_end is not None:
            self.at_batch_end(trainer, self.place)


@dataclass
class Ended:
    """A training that is over."""

    trainer: Any
    probe: RecordingProbe
    faults: Faults
    error: BaseException | None
    losses: list[float]

    @property
    def csv(self) -> list[dict[str, float]]:
        """The rows of results.csv."""
        lines = Path(self.trainer.csv).read_text().split()
        names = lines[0].split(",")
        return [dict(zip(names, (float(value) for value in line.split(",")), strict=True)) for line in lines[1:]]


def train(
    arguments: Mapping[str, Any],
    model: Path | str,
    probe: RecordingProbe | None,
    faults: Faults | None = None,
    *,
    guard: bool = True,
    trainer: type | None = None,
    callbacks: Mapping[str, Callable[[Any], None]] | None = None,
) -> Ended:
    """Run a training to its end, whatever that is. `probe` None: without hooks of ours in its way."""
    import ultralytics.engine.trainer as trainer_module
    from ultralytics import YOLO

    from trainer_hooks.integrations.ultralytics import attach, detach

    if probe is None:
        detach(trainer_module)
    else:
        attach(trainer_module, connect=lambda _: probe, guard=guard)
    faults = faults or Faults()
    losses: list[float] = []
    yolo = YOLO(str(model))
    for event, callback in faults.callbacks().items():
        yolo.add_callback(event, callback)
    yolo.add_callback("on_train_batch_end", lambda trainer: losses.append(float(trainer.loss.detach())))
    for event, callback in (callbacks or {}).items():
        yolo.add_callback(event, callback)
    error: BaseException | None = None
    try:
        yolo.train(trainer=trainer, **arguments)
    except (Exception, SystemExit) as caught:  # noqa: BLE001  whatever it is, the test looks at it
        error = caught
    return Ended(yolo.trainer, probe or RecordingProbe(Path()), faults, error, losses)


def faults_of(checkpoint: Path | bytes) -> list[str]:
    """What is wrong with a checkpoint's weights and statistics; empty: nothing."""
    import io

    from ultralytics.utils.patches import torch_load

    source = io.BytesIO(checkpoint) if isinstance(checkpoint, bytes) else checkpoint
    loaded = torch_load(source, map_location="cpu")
    state = (loaded["ema"] or loaded["model"]).float().state_dict()
    found = [f"{name} is non-finite" for name, value in state.items() if not bool(torch.isfinite(value).all())]
    found += [
        f"{name} is not positive"
        for name, value in state.items()
        if "running_var" in name and not bool((value > 0).all())
    ]
    if all(bool((value == 0).all()) for value in state.values()):
        found.append("everything is zero")
    return found
