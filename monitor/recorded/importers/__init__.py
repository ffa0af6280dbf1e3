"""Foreign logs, one file a kind, recognised by content. An importer reads a Content: it opens nothing itself."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache

import msgspec

from monitor.recorded.importers.assemble import assemble
from monitor.recorded.importers.content import Content, ContentError
from monitor.recorded.importers.foreign_files import described
from monitor.recorded.importers.imported_run import ImportedRun, Log, NotALog, Recording, Role, UnreadableLog
from monitor.recorded.stream import StreamError, is_stream, read_stream

Recognises = Callable[[bytes, str], bool]
Reads = Callable[[Content, str], Log]


class Importer(msgspec.Struct, frozen=True):
    """One kind of log. `reads` takes the file and its name; it and its samples may raise UnreadableLog."""

    kind: str
    rank: int  # importers are asked in this order: what is more particular comes first
    recognises: Recognises
    reads: Reads


_registry: dict[str, Importer] = {}


def register(kind: str, *, rank: int, recognises: Recognises) -> Callable[[Reads], Reads]:
    """Decorator: the function reads logs of this kind. Raises ValueError if the kind is taken."""

    def add(reads: Reads) -> Reads:
        if kind in _registry:
            raise ValueError(f"importer {kind!r}: {reads.__module__} registers it a second time; give it another kind")
        _registry[kind] = Importer(kind, rank, recognises, reads)
        return reads

    return add


def load_all() -> dict[str, Importer]:
    """Every importer by kind, the most particular first."""
    _import_all()
    return {i.kind: i for i in sorted(_registry.values(), key=lambda i: (i.rank, i.kind))}


@cache
def _import_all() -> None:
    """Import every module of this folder, once: a backtest of many files need not read the folder for each."""
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        importlib.import_module(f"{__name__}.{module}")


def recognise(head: bytes, name: str) -> Importer:
    """The importer for a file that begins with `head`; its name is only a hint. Raises UnreadableLog if none fits."""
    if not head.strip():
        raise UnreadableLog(name, "is empty; name it again once the training has written to it")
    if what := described(head):
        raise NotALog(name, what)
    for importer in load_all().values():
        if importer.recognises(head, name):
            return importer
    raise NotALog(
        name, "is not a log of a known kind (neither text nor a TensorBoard event file); unpack it, or export it as CSV"
    )


def read_recording(
    given: bytes | Content, name: str, mapping: Mapping[str, Role] | None = None
) -> ImportedRun | Recording:
    """As read_log, for a stream of our own (see monitor.recorded.stream) too. Raises UnreadableLog as read_log does."""
    content = given if isinstance(given, Content) else Content.of(given)
    try:
        if not is_stream(content.head):
            return read_log(content, name, mapping)
        return Recording("stream", name, read_stream(content.whole()))
    except (ContentError, StreamError) as error:
        raise UnreadableLog(name, str(error)) from error


def read_log(given: bytes | Content, name: str, mapping: Mapping[str, Role] | None = None) -> ImportedRun:
    """The run that a log describes.

    Args:
        given: the whole file, or how it is opened.
        name: of the file, for recognition and errors.
        mapping: column name to role, where the user knows better; see monitor.recorded.importers.columns.

    Raises:
        UnreadableLog: which file, why, and the remedy.
    """
    content = given if isinstance(given, Content) else Content.of(given)
    try:
        importer = recognise(content.head, name)
        return assemble(lambda: importer.reads(content, name), importer.kind, name, mapping)
    except ContentError as error:
        raise UnreadableLog(name, str(error)) from error
