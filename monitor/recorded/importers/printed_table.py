"""Blocks of `| name | value |` lines between rulers, as the loggers of OpenAI's diffusion and RL code print them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.imported_run import Log, Sample

LINE = re.compile(
    rb"^\s*\|\s*([\w/ .-]+?)\s*\|\s*([-+]?(?:\d+(?:\.\d*)?(?:e[-+]?\d+)?|nan|inf))\s*\|\s*$", re.MULTILINE
)
RULER = re.compile(rb"^\s*-{8,}\s*$")


LOSS = re.compile(rb"(?:^|[/_])loss$")


def _blocks(head: bytes, _: str) -> bool:
    return any(LOSS.search(line[1]) for line in LINE.finditer(head))


@register("printed_table", rank=55, recognises=_blocks)
def printed_table(content: Content, _: str) -> Log:
    """One row a block."""
    return Log(_samples(content))


def _samples(content: Content) -> Iterator[Sample]:
    block: dict[str, float] = {}
    for number, line in enumerate(content.lines(), 1):
        if found := LINE.match(line):
            block[found[1].decode("utf-8", "replace")] = float(found[2])
        elif RULER.match(line) and block:
            yield number, block
            block = {}
