"""What Keras prints while it trains: `Epoch 1/30`, then bars that show the mean so far."""

from __future__ import annotations

import re
from collections.abc import Iterator

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.imported_run import Log, Role, Sample
from monitor.recorded.importers.words import ANY_NUMBER, number_of

HEADING = re.compile(rb"^\s*Epoch (\d+)/\d+\s*$")
BAR = re.compile(rb"\d+/(?:\d+|Unknown|\?).*(?:/step|/epoch|ETA|\ds\b).*?-\s+\w*(?:loss|acc)\w*: ")
PAIR = re.compile(rf"- (?P<name>[\w/. ]+?): (?P<value>{ANY_NUMBER})", re.IGNORECASE)
BACKSPACE = b"\x08"


def _keras(head: bytes, _: str) -> bool:
    lines = head.splitlines()
    return any(map(HEADING.match, lines)) and any(len(line) < 64_000 and BAR.search(line) for line in lines)


@register("keras_console", rank=50, recognises=_keras)
def keras_console(content: Content, _: str) -> Log:
    """A row an epoch: the last bar of each."""
    return Log(_samples(content), {"epoch": Role.EPOCH, "loss": Role.LOSS}, "epoch")


def _samples(content: Content) -> Iterator[Sample]:
    epoch, last = 0.0, None
    for number, raw in enumerate(content.lines(), 1):
        line = raw.rstrip(BACKSPACE).rpartition(BACKSPACE)[2] if BACKSPACE in raw else raw
        if heading := HEADING.match(line):
            if last is not None:
                yield last
            epoch, last = float(heading[1]), None
        elif b"loss: " in line:
            found = [(p["name"].strip(), number_of(p["value"])) for p in PAIR.finditer(line.decode("utf-8", "replace"))]
            values = {name: value for name, value in found if value is not None}
            if "loss" in values:
                last = number, {"epoch": epoch, **values}
    if last is not None:
        yield last
