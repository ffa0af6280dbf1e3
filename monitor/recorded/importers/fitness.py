"""The fitness of an epoch by the columns of Ultralytics and YOLOv5, which write it into no log. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

DETECTION = re.compile(r"metrics/mAP(?:50-95|_0\.5:0\.95)(?:\([A-Z]\))?")  # boxes, masks and key points have one each
TOP_1, TOP_5 = "metrics/accuracy_top1", "metrics/accuracy_top5"


def fitness_of(metrics: Mapping[str, float]) -> float | None:
    """What the best epoch is chosen by: the sum of mAP50-95, or the mean of both accuracies. None: there is neither."""
    found = [value for name, value in metrics.items() if DETECTION.fullmatch(name)]
    if not found:
        found = [metrics[name] / 2 for name in (TOP_1, TOP_5) if name in metrics]
    return sum(found) if found else None
