"""MLflow: the `metrics` folder of a run holds a file a metric, each of its lines the time, the value and the step."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.documents import flat, lines_of
from monitor.recorded.importers.imported_run import Log, Role, Sample
from monitor.recorded.importers.words import number_of

MARK = b'{"mlflow_metrics": '
Point = tuple[float, str, float, float]  # time, name, value, step


def joined(files: Mapping[str, bytes]) -> bytes:
    """The files of one `metrics` folder, by the name of the metric, as JSON lines: a line a step."""
    points = sorted(point for name, data in files.items() for point in _points(name, data))
    rows: list[dict[str, float]] = []
    for _, name, value, step in points:
        if not rows or rows[-1]["step"] != step or name in rows[-1]:
            rows.append({"step": step})
        rows[-1][name] = value
    lines = [MARK.decode() + f"{len(files)}}}", *map(json.dumps, rows)]
    return "\n".join([*lines, ""]).encode()


def _points(name: str, data: bytes) -> Iterator[Point]:
    for line in data.decode("utf-8", "replace").splitlines():
        numbers = [number_of(cell) for cell in line.split()]
        if len(numbers) == 3 and None not in numbers:
            time, value, step = numbers
            yield (time or 0.0, name, value if value is not None else 0.0, step or 0.0)


@register("mlflow", rank=5, recognises=lambda head, _: head.startswith(MARK))
def mlflow(content: Content, _: str) -> Log:
    """A row a step."""
    return Log(_samples(content), {"step": Role.STEP}, "batch")


def _samples(content: Content) -> Iterator[Sample]:
    return ((line, flat(value)) for line, value in lines_of(content) if "step" in value)
