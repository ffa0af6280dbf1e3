"""Lines of a log that something has put into JSON objects: Docker, systemd, clouds, Kaggle, loggers of services."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from monitor.recorded.importers import recognise, register
from monitor.recorded.importers.content import Content, without_escapes
from monitor.recorded.importers.documents import flat, parsed
from monitor.recorded.importers.imported_run import Log

KEYS = ("log", "message", "msg", "text", "MESSAGE", "@message", "textPayload", "data")  # where they put the line
INSIDE = ("jsonPayload", "fields", "record")  # objects of theirs that may hold one of those
LINES_LOOKED_AT = 200


class Unwrapped(Content):
    """The lines inside the objects."""

    def __init__(self, outer: Content) -> None:
        self._outer = outer
        self.cut = False

    @cached_property
    def head(self) -> bytes:
        """How the text begins."""
        lines = self._outer.head.splitlines()
        return b"".join(line + b"\n" for outer in lines for line in _inside(outer))

    def lines(self) -> Iterator[bytes]:
        """Every line without its end."""
        for outer in self._outer.lines():
            yield from _inside(outer)
        self.cut = self._outer.cut

    def whole(self) -> bytes:
        """All of the text."""
        return b"\n".join(self.lines())


def _wrapped(head: bytes, _: str) -> bool:
    """Some line inside has a loss, and no object has one itself."""
    if not head.lstrip().startswith((b"{", b"[{")):
        return False
    with_loss = [line for line in head.splitlines() if b"loss" in line.lower()][:LINES_LOOKED_AT]
    inside = any(b"loss" in line.lower() for outer in with_loss for line in _inside(outer))
    return inside and not any("loss" in name.lower() for outer in with_loss for name in flat(_object(outer)))


@register("wrapped_lines", rank=14, recognises=_wrapped)
def wrapped_lines(content: Content, name: str) -> Log:
    """What is inside is a log of a kind of its own."""
    inner = Unwrapped(content)
    return recognise(inner.head, name).reads(inner, name)


def _inside(outer: bytes) -> list[bytes]:
    value = _object(outer)
    for key in INSIDE:
        if isinstance(inner := value.get(key), dict):
            value = {**inner, **value}
    text = next((text for key in KEYS if isinstance(text := value.get(key), str)), "")
    return [without_escapes(line.encode("utf-8", "replace")) for line in text.splitlines()]


def _object(line: bytes) -> dict[str, object]:
    line = line.lstrip(b"[,")  # of Kaggle's list
    try:
        value = parsed(line) if line.startswith(b"{") else None
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
