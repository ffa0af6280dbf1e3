"""What YOLO prints: progress bars with running means of the losses, and YOLOv5's `results.txt` of the same columns."""

from __future__ import annotations

import re
from collections.abc import Iterator

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.imported_run import Log, Role, Sample

NUMBER = r"(?:\d+(?:\.\d*)?(?:e[-+]?\d+)?|nan|inf)"
BAR = re.compile(
    rf"(?:^|[\s|\]:>])(\d+)/(\d+)\s+(\d+(?:\.\d*)?)([GM])\s+((?:{NUMBER}\s+){{2,12}}?)(\d+)\s+(\d{{2,5}})(?=[:\s]|$)"
)
MEMORY = re.compile(rb"\d/\d+\s+\d+(?:\.\d*)?[GM]\s")  # what a bar has in front: looked for first, since it is quick
HEADER = re.compile(r"Epoch\s+(?:GPU_mem|gpu_mem)((?:\s+\w+)+)")
LINES = re.compile(rb"[\r\n]+")
GIB, MIB = 1024.0**3, 1024.0**2
OLD_NAMES = ("box", "obj", "cls", "total", "labels", "img_size")  # YOLOv5 before 7, and results.txt


def _yolo(head: bytes, _: str) -> bool:
    return any(BAR.search(line.decode("utf-8", "replace")) for line in LINES.split(head) if MEMORY.search(line))


@register("yolo_stdout", rank=50, recognises=_yolo)
def yolo_stdout(content: Content, _: str) -> Log:
    """A row an epoch: the last bar of each, since a bar shows the mean so far (a NaN in it stays)."""
    return Log(_samples(content), {"epoch": Role.EPOCH, "memory": Role.MEMORY}, "epoch", memory_unit_bytes=1.0)


def _samples(content: Content) -> Iterator[Sample]:
    names: tuple[str, ...] = OLD_NAMES
    bar_before: Sample | None = None
    for number, line in enumerate(content.lines(), 1):
        text = line.decode("utf-8", "replace")
        if found := HEADER.search(text):
            names = tuple(found[1].split())
        elif MEMORY.search(line) and (bar := BAR.search(text)):
            values = _values(bar, names)
            if bar_before is not None and bar_before[1]["epoch"] != values["epoch"]:
                yield bar_before
            bar_before = (number, values)
    if bar_before is not None:
        yield bar_before


def _values(bar: re.Match[str], names: tuple[str, ...]) -> dict[str, float]:
    """The numbers of one bar; the losses are those before the labels and the image size."""
    values = {"epoch": float(bar[1]), "memory": float(bar[3]) * (GIB if bar[4] == "G" else MIB)}
    for name, number in zip(names, bar[5].split(), strict=False):
        if name not in ("total", "labels", "img_size", "Instances", "Size"):
            values[f"train/{name.removesuffix('_loss')}_loss"] = float(number)
    return values
