"""The training of the tables: `python -m tests.bench.never_worse.training LAB FOLDER ROW SEED [--no-recovery]`.

LAB holds the data set and the model, FOLDER gets everything that the training writes. `--no-recovery` switches off what
Ultralytics does by itself: its `_handle_nan_recovery` is called after each validation, and is overridden here.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tests.bench.never_worse import faults
from tests.harness.yolo import Lab, go_offline

EPOCHS, IMAGES, VALIDATED = 8, 160, 64


def trainer_class(row: str, life: faults.Life, *, recovers: bool) -> type:
    """A trainer with the row's fault in it, which counts its batches in a file."""
    from ultralytics.models.yolo.detect import DetectionTrainer

    on_batch, at_step = faults.ON_BATCH.get(row), faults.AT_STEP.get(row)

    class FaultyTrainer(DetectionTrainer):  # type: ignore[misc, unused-ignore]
        def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
            prepared: dict[str, Any] = super().preprocess_batch(batch)
            life.trainer, life.batch = self, life.batch + 1
            with (life.folder / "batches.txt").open("a") as file:
                file.write(".")
            if on_batch is not None:
                on_batch(life, prepared)
            return prepared

        def optimizer_step(self) -> None:
            if at_step is None:
                super().optimizer_step()
            else:
                at_step(life, super().optimizer_step)

        def _handle_nan_recovery(self, epoch: int) -> bool:
            return recovers and bool(super()._handle_nan_recovery(epoch))

    return FaultyTrainer


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lab", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("row", choices=faults.ROWS)
    parser.add_argument("seed", type=int)
    parser.add_argument("--no-recovery", action="store_true")
    given = parser.parse_args()
    go_offline(given.lab / "config")
    from ultralytics import YOLO

    life = faults.Life(given.folder)
    lab = Lab(given.lab / "shapes" / "data.yaml", given.lab / "yolov8n-tiny.yaml", IMAGES)
    model = YOLO(str(lab.model))
    model.add_callback("on_train_epoch_start", lambda _: setattr(life, "batch", -1))
    model.train(
        trainer=trainer_class(given.row, life, recovers=not given.no_recovery),
        **lab.arguments(given.folder, epochs=EPOCHS, imgsz=64, seed=given.seed, mosaic=0.0, lr0=faults.OWN_RATE),
    )


if __name__ == "__main__":
    main()
