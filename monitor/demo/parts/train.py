"""Train a small YOLOv8 on the data set of shapes. An ordinary script: nothing in it knows of trainwarden."""

from pathlib import Path

from ultralytics import YOLO

here = Path(__file__).resolve().parent

if __name__ == "__main__":
    model = YOLO(here / "yolov8n-tiny.yaml")
    model.train(
        data=here / "data" / "data.yaml",
        epochs=8,
        imgsz=64,
        batch=4,
        nbs=4,
        optimizer="SGD",
        lr0=0.01,
        warmup_epochs=1.0,
        close_mosaic=0,
        project=here / "runs",
        name="night",
        device="cpu",
        workers=0,
        plots=False,
        seed=0,
    )
