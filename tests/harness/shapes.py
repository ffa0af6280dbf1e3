"""Draws the tiny data set of the real trainings: circles, squares and triangles, the same for the same arguments."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

CLASSES = ("circle", "square", "triangle")


def draw(folder: Path, train: int, val: int = 16, size: int = 96, seed: int = 0) -> Path:
    """Write PNG images of `size` pixels with YOLO labels below `folder`; get the path of data.yaml."""
    generator = np.random.default_rng(seed)
    for split, count in (("train", train), ("val", val)):
        images, labels = folder / "images" / split, folder / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for index in range(count):
            image, lines = _scene(generator, size)
            cv2.imwrite(str(images / f"{index:04d}.png"), image)
            (labels / f"{index:04d}.txt").write_text("\n".join(lines))
    names = ", ".join(CLASSES)
    data = folder / "data.yaml"
    data.write_text(f"path: {folder}\ntrain: images/train\nval: images/val\nnc: {len(CLASSES)}\nnames: [{names}]\n")
    return data


def _scene(generator: np.random.Generator, size: int) -> tuple[np.ndarray, list[str]]:
    image = generator.integers(0, 60, (size, size, 3)).astype(np.uint8)
    lines = []
    for _ in range(int(generator.integers(1, 4))):
        kind = int(generator.integers(0, len(CLASSES)))
        radius = int(generator.integers(size // 12, size // 5))
        x, y = (int(value) for value in generator.integers(radius + 1, size - radius - 1, 2))
        colour = tuple(int(value) for value in generator.integers(120, 255, 3))
        _shape(image, kind, x, y, radius, colour)
        lines.append(f"{kind} {x / size:.6f} {y / size:.6f} {2 * radius / size:.6f} {2 * radius / size:.6f}")
    return image, lines


def _shape(image: np.ndarray, kind: int, x: int, y: int, radius: int, colour: tuple[int, ...]) -> None:
    if kind == 0:
        cv2.circle(image, (x, y), radius, colour, -1)
    elif kind == 1:
        cv2.rectangle(image, (x - radius, y - radius), (x + radius, y + radius), colour, -1)
    else:
        corners = np.array([[x, y - radius], [x - radius, y + radius], [x + radius, y + radius]])
        cv2.fillPoly(image, [corners], colour)
