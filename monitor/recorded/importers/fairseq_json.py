"""fairseq with `--log-format json`: one JSON object a line behind `| train_inner |` or `[train_inner][INFO]`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.documents import flat, parsed
from monitor.recorded.importers.imported_run import Log, Role, Sample
from monitor.recorded.importers.line_numbers import overflow_in

LINE = re.compile(rb"\b(train_inner|train|valid\w*|dev\w*)(?: \| |\]\[INFO\] - )(\{\".*\})\s*$")
ROLES = {
    "loss": Role.LOSS, "train_loss": Role.LOSS, "epoch": Role.EPOCH, "num_updates": Role.STEP,
    "train_num_updates": Role.STEP, "gnorm": Role.GRAD_NORM, "train_gnorm": Role.GRAD_NORM, "lr": Role.RATE,
    "train_lr": Role.RATE, "loss_scale": Role.LOSS_SCALE, "train_loss_scale": Role.LOSS_SCALE,
    "overflow": Role.OVERFLOW,
}  # fmt: skip
INNER, SUMMARY = b"train_inner", b"train"


@register("fairseq_json", rank=50, recognises=lambda head, _: any(map(LINE.search, head.splitlines())))
def fairseq_json(content: Content, _: str) -> Log:
    """The rows of `train_inner`; only where there are none, the means of the epochs, which are called `train`."""
    inner = any((found := LINE.search(line)) and found[1] == INNER for line in content.head.splitlines())
    return Log(_samples(content, without=SUMMARY if inner else b""), ROLES, "batch")


def _samples(content: Content, without: bytes) -> Iterator[Sample]:
    for number, line in enumerate(content.lines(), 1):
        if found := LINE.search(line):
            try:
                value = parsed(found[2])
            except (ValueError, RecursionError):
                continue
            if found[1] != without and isinstance(value, dict):
                yield number, flat(value)
        elif b"overflow" in line and (skipped := overflow_in(line.decode("utf-8", "replace"))):
            yield number, skipped
