"""Ultralytics and YOLOv5 `results.csv`: one row an epoch, losses by component, learning rates per group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.imported_run import Log, Role, Sample
from monitor.recorded.importers.tables import header_of, table_log

COMPONENTS = frozenset({"train/box_loss", "train/cls_loss", "train/loss", "train/seg_loss", "train/giou_loss"})
CUMULATIVE = {"time": Role.NONE}  # seconds since the training began


def _ultralytics(head: bytes, _: str) -> bool:
    names = set(header_of(head))
    return (
        "epoch" in names and bool(names & COMPONENTS) and any(n.startswith(("metrics/", "lr/", "x/lr")) for n in names)
    )


@register("ultralytics_csv", rank=10, recognises=_ultralytics)
def ultralytics_csv(content: Content, _: str) -> Log:
    """Columns of every version since YOLOv5; a repeated last epoch is the final validation, not a training row."""
    log = table_log(content, CUMULATIVE, "epoch")
    return msgspec.structs.replace(log, samples=_without_final_validation(log.samples))


def _without_final_validation(samples: Iterable[Sample]) -> Iterator[Sample]:
    before: Sample | None = None
    two: Sample | None = None
    for sample in samples:
        if two is not None:
            yield two
        two, before = before, sample
    if two is not None:
        yield two
    if before is not None and (two is None or before[1].get("epoch") != two[1].get("epoch")):
        yield before
