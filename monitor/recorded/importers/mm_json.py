"""OpenMMLab: `*.log.json` (mmcv runners) and `scalars.json` (mmengine)."""

from __future__ import annotations

from collections.abc import Iterator

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.documents import first_object, flat, lines_of
from monitor.recorded.importers.imported_run import Log, Role, Sample

TIMES = {"time": Role.BATCH_S, "data_time": Role.DATA_S}
OWN = frozenset({"data_time", "mode", "env_info"})


def _openmmlab(head: bytes, _: str) -> bool:
    first = first_object(head, OWN)
    return "env_info" in first or {"mode", "epoch"} <= first.keys() or {"data_time", "epoch"} <= first.keys()


@register("mm_json", rank=20, recognises=_openmmlab)
def mm_json(content: Content, _: str) -> Log:
    """A row is a mean over the logging interval. `mode` marks a validation; in mmengine its row has no `loss`."""
    return Log(_samples(content), TIMES, "batch")


def _samples(content: Content) -> Iterator[Sample]:
    for line, value in lines_of(content):
        numbers = flat(value)
        if value.get("mode") == "val":
            numbers = {f"val/{key}": number for key, number in numbers.items() if key not in ("epoch", "iter", "lr")}
        elif "loss" not in value and "mode" not in value:  # mmengine's validation: only metrics and a step
            numbers.pop("step", None)
        yield line, numbers
