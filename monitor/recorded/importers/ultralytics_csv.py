"""Ultralytics and YOLOv5 `results.csv`: one row an epoch, losses by component, learning rates per group."""

from __future__ import annotations

from monitor.recorded.importers import register
from monitor.recorded.importers.imported_run import Log, Role
from monitor.recorded.importers.tables import header_of, read_table

COMPONENTS = frozenset({"train/box_loss", "train/cls_loss", "train/loss", "train/seg_loss", "train/giou_loss"})
CUMULATIVE = {"time": Role.NONE}  # seconds since the training began


def _ultralytics(head: bytes, _: str) -> bool:
    names = set(header_of(head))
    return (
        "epoch" in names and bool(names & COMPONENTS) and any(n.startswith(("metrics/", "lr/", "x/lr")) for n in names)
    )


@register("ultralytics_csv", rank=10, recognises=_ultralytics)
def ultralytics_csv(data: bytes, name: str) -> Log:
    """Columns of every version since YOLOv5; a repeated last epoch is the final validation, not a training row."""
    samples, truncated = read_table(data, name)
    if len(samples) > 1 and samples[-1][1].get("epoch") == samples[-2][1].get("epoch"):
        samples = samples[:-1]
    return Log(samples, CUMULATIVE, "epoch", truncated)
