"""Foreign logs, one file a kind, recognised by content. An importer is a function of bytes: it opens nothing itself."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache

import msgspec

from monitor.recorded.importers.assemble import assemble
from monitor.recorded.importers.imported_run import ImportedRun, Log, NotALog, Recording, Role, UnreadableLog
from monitor.recorded.stream import StreamError, is_stream, read_stream

HEAD_BYTES = 256 * 1024  # what recognition may look at; some logs begin with the source code of their script
LOG_BYTES_MAX = 512 * 1024 * 1024  # a log of a million rows has about 200 MB

Recognises = Callable[[bytes, str], bool]
Reads = Callable[[bytes, str], Log]


class Importer(msgspec.Struct, frozen=True):
    """One kind of log. `reads` takes the whole file and its name, and raises UnreadableLog."""

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
        raise UnreadableLog(name, "is empty")
    for importer in load_all().values():
        if importer.recognises(head, name):
            return importer
    raise NotALog(name, "is not a log of a known kind (neither text nor a TensorBoard event file)")


def read_recording(data: bytes, name: str, mapping: Mapping[str, Role] | None = None) -> ImportedRun | Recording:
    """As read_log, for a stream of our own (see monitor.recorded.stream) too. Raises UnreadableLog as read_log does."""
    if not is_stream(data[:HEAD_BYTES]):
        return read_log(data, name, mapping)
    _refuse_too_long(data, name)
    try:
        return Recording("stream", name, read_stream(data))
    except StreamError as error:
        raise UnreadableLog(name, str(error)) from error


def _refuse_too_long(data: bytes, name: str) -> None:
    if len(data) > LOG_BYTES_MAX:
        raise UnreadableLog(name, f"has {len(data)} bytes; the limit is {LOG_BYTES_MAX}: split it")


def read_log(data: bytes, name: str, mapping: Mapping[str, Role] | None = None) -> ImportedRun:
    """The run that a log's bytes describe.

    Args:
        data: the whole file.
        name: of the file, for recognition and errors.
        mapping: column name to role, where the user knows better; see monitor.recorded.importers.columns.

    Raises:
        UnreadableLog: which file, why, and the remedy.
    """
    _refuse_too_long(data, name)
    importer = recognise(data[:HEAD_BYTES], name)
    return assemble(importer.reads(data, name), importer.kind, name, mapping)
