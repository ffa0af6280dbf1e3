"""The data set that the demo draws."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from monitor.demo.shapes import CLASSES, SIDE_PIXELS, draw_dataset, draw_image


def test_the_same_call_draws_the_same_bytes(tmp_path: Path) -> None:
    first, second = (draw_dataset(tmp_path / name, 3, 2).parent for name in ("a", "b"))
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file() and path.suffix != ".yaml")
    assert len(files) == 2 * (3 + 2)
    assert all((first / file).read_bytes() == (second / file).read_bytes() for file in files)


def test_every_box_lies_within_its_image_and_names_a_class() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        image, boxes = draw_image(random)
        assert image.shape == (SIDE_PIXELS, SIDE_PIXELS, 3)
        assert 1 <= len(boxes) <= 3
        for kind, x, y, width, height in boxes:
            assert 0 <= kind < len(CLASSES)
            assert width / 2 <= x <= 1 - width / 2
            assert height / 2 <= y <= 1 - height / 2


def test_every_image_is_bright_enough_for_the_injected_fault(tmp_path: Path) -> None:
    """The fault overflows for pixels over 0.55; augmentation darkens an image to 0.6 of its brightness at most."""
    draw_dataset(tmp_path / "data", 40, 1)
    images = [cv2.imread(str(path)) for path in (tmp_path / "data" / "images" / "train").iterdir()]
    assert len(images) == 40
    assert all(image is not None and image.max() >= 200 for image in images)
