"""Draws the demo's data set of circles, squares and triangles. An edge file: it writes the images and labels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

CLASSES = ("circle", "square", "triangle")
SIDE_PIXELS = 96
SEED = 4  # of the numbers below; another one draws another data set

Image = NDArray[np.uint8]
Box = tuple[int, float, float, float, float]  # class, centre x, centre y, width, height: shares of the side


def draw_dataset(folder: Path, train_images: int, val_images: int) -> Path:
    """The path of a data.yaml that Ultralytics reads; images as PNG, labels as YOLO text, all below `folder`."""
    random = np.random.default_rng(SEED)
    for part, count in (("train", train_images), ("val", val_images)):
        images, labels = folder / "images" / part, folder / "labels" / part
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for number in range(count):
            image, boxes = draw_image(random)
            cv2.imwrite(str(images / f"{part}-{number:03}.png"), image)
            lines = (" ".join((str(box[0]), *(f"{value:.5f}" for value in box[1:]))) for box in boxes)
            (labels / f"{part}-{number:03}.txt").write_text("\n".join(lines) + "\n")
    names = "\n".join(f"  {number}: {name}" for number, name in enumerate(CLASSES))
    data = folder / "data.yaml"
    data.write_text(f"path: {folder}\ntrain: images/train\nval: images/val\nnames:\n{names}\n")
    return data


def draw_image(random: np.random.Generator) -> tuple[Image, list[Box]]:
    """One image, (SIDE_PIXELS, SIDE_PIXELS, 3), with one to three bright shapes on a dark, noisy ground."""
    image = random.integers(20, 70, (SIDE_PIXELS, SIDE_PIXELS, 3), dtype=np.uint8)
    boxes = [_draw_shape(image, random) for _ in range(int(random.integers(1, 4)))]
    return image, boxes


def _draw_shape(image: Image, random: np.random.Generator) -> Box:
    kind = int(random.integers(len(CLASSES)))
    half = int(random.integers(SIDE_PIXELS // 8, SIDE_PIXELS // 4))
    x, y = (int(value) for value in random.integers(half, SIDE_PIXELS - half, 2))
    colour = [0, 0, 0]
    colour[kind] = int(random.integers(200, 256))  # each class has a channel of its own, so that a tiny model learns it
    if kind == 0:
        cv2.circle(image, (x, y), half, colour, -1)
    elif kind == 1:
        cv2.rectangle(image, (x - half, y - half), (x + half, y + half), colour, -1)
    else:
        corners = np.array([(x, y - half), (x - half, y + half), (x + half, y + half)], np.int32)
        cv2.fillPoly(image, [corners], colour)
    return kind, x / SIDE_PIXELS, y / SIDE_PIXELS, 2 * half / SIDE_PIXELS, 2 * half / SIDE_PIXELS
