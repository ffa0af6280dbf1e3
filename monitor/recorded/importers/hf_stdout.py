"""What a Hugging Face Trainer prints: one Python dict a logged step, between progress bars."""

from __future__ import annotations

import re
from collections.abc import Iterator

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.imported_run import Log, Role, Sample

PRINTED = re.compile(rb"\{[^{}\n]{0,40}['\"](?:eval_)?loss['\"]: [^{}\n]*\}")
PAIR = re.compile(r"['\"]([\w/ .-]+)['\"]:\s*['\"]?([-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|nan|inf))\b")


@register("hf_stdout", rank=40, recognises=lambda head, _: b"'loss': " in head and bool(PRINTED.search(head)))
def hf_stdout(content: Content, _: str) -> Log:
    """Every printed dict that has a loss. It has no step, so its place in the file is the row."""
    return Log(_samples(content), {"loss": Role.LOSS}, "batch")


def _samples(content: Content) -> Iterator[Sample]:
    for number, line in enumerate(content.lines(), 1):
        for found in PRINTED.finditer(line):
            pairs = PAIR.findall(found.group().decode("utf-8", "replace"))
            yield number, {key: float(value) for key, value in pairs}
