"""OpenMMLab: `*.log.json` (mmcv runners) and `scalars.json` (mmengine)."""

from __future__ import annotations

from monitor.recorded.importers import register
from monitor.recorded.importers.documents import first_object, flat, lines_of
from monitor.recorded.importers.imported_run import Log, Role

TIMES = {"time": Role.BATCH_S, "data_time": Role.DATA_S}
OWN = frozenset({"data_time", "mode", "env_info"})


def _openmmlab(head: bytes, _: str) -> bool:
    first = first_object(head, OWN)
    return "env_info" in first or {"mode", "epoch"} <= first.keys() or {"data_time", "epoch"} <= first.keys()


@register("mm_json", rank=20, recognises=_openmmlab)
def mm_json(data: bytes, _: str) -> Log:
    """A row is a mean over the logging interval. `mode` marks a validation; in mmengine its row has no `loss`."""
    objects, truncated = lines_of(data)
    samples = []
    for line, value in objects:
        numbers = flat(value)
        if value.get("mode") == "val":
            numbers = {f"val/{key}": number for key, number in numbers.items() if key not in ("epoch", "iter", "lr")}
        elif "loss" not in value and "mode" not in value:  # mmengine's validation: only metrics and a step
            numbers.pop("step", None)
        samples.append((line, numbers))
    return Log(samples, TIMES, "batch", truncated)
