"""StyleGAN `stats.jsonl`: each statistic is a number, its mean and its spread; only the means are of the training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.documents import first_object, flat, lines_of
from monitor.recorded.importers.imported_run import Log, Role, Sample

MARK = "Progress/kimg"
ROLES = {
    "Progress/tick": Role.STEP,
    "Loss/G/loss": Role.PART,
    "Loss/D/loss": Role.PART,
    "Resources/peak_gpu_mem_gb": Role.MEMORY,
}
GIB = 1024.0**3


def _stylegan(head: bytes, _: str) -> bool:
    return isinstance(first_object(head, frozenset({MARK})).get(MARK), dict)


@register("stylegan_stats", rank=10, recognises=_stylegan)
def stylegan_stats(content: Content, _: str) -> Log:
    """The losses of generator and discriminator; scores, signs and penalties are no losses of their own."""
    names = flat(_means(first_object(content.head, frozenset({MARK}))))
    others = dict.fromkeys([name for name in names if name.startswith("Loss/")], Role.NONE)
    return Log(_samples(content), others | ROLES, "batch", memory_unit_bytes=GIB)


def _samples(content: Content) -> Iterator[Sample]:
    for line, value in lines_of(content):
        yield line, flat(_means(value))


def _means(value: dict[str, Any]) -> dict[str, Any]:
    return {name: item["mean"] for name, item in value.items() if isinstance(item, dict) and "mean" in item}
