"""What a Hugging Face Trainer prints: one Python dict a logged step, between progress bars."""

from __future__ import annotations

import re
from collections.abc import Iterator

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.imported_run import Log, Role, Sample
from monitor.recorded.importers.words import ANY_NUMBER, number_of

PRINTED = re.compile(rb"\{[^{}\n]{0,40}['\"](?:eval_)?loss['\"]: [^{}\n]*\}")
PAIR = re.compile(
    rf"['\"](?P<name>[\w/ .-]+)['\"]:\s*(?:(?:tensor|array)\(\[*)?['\"]?(?P<value>{ANY_NUMBER})(?![A-Za-z])",
    re.IGNORECASE,
)


@register("hf_stdout", rank=40, recognises=lambda head, _: b"'loss': " in head and bool(PRINTED.search(head)))
def hf_stdout(content: Content, _: str) -> Log:
    """Every printed dict that has a loss. It has no step, so its place in the file is the row."""
    return Log(_samples(content), {"loss": Role.LOSS}, "batch")


def _samples(content: Content) -> Iterator[Sample]:
    for number, line in enumerate(content.lines(), 1):
        for found in PRINTED.finditer(line):
            text = found.group().decode("utf-8", "replace")
            pairs = [(pair["name"], number_of(pair["value"])) for pair in PAIR.finditer(text)]
            yield number, {name: value for name, value in pairs if value is not None}
