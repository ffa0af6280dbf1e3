"""Events that nobody acknowledged yet, in a file that outlives their process. The second file of `wire` that does I/O.

Each entry is the length of its body (4 bytes, big end first) and the body, an EventSent in msgpack.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import NamedTuple

import msgspec

from trainer_hooks.wire.messages import EventSent
from trainer_hooks.wire.runfolder import RunFolder

EVENTS_FILE_MAX = 4 * 1024 * 1024  # bytes; thousands of events, and it is emptied whenever all are acknowledged
_LENGTH_BYTES = 4
_NAME = re.compile(r"events-([0-9]{1,9})(?:-([0-9]{1,9}))?-([0-9]{1,9})\.bin")

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(EventSent)


class EventsOf(NamedTuple):
    """Whose events a file holds."""

    generation: int
    training: int
    rank: int


def events_path(folder: RunFolder, generation: int, rank: int, training: int = 1) -> Path:
    """Where one rank of one training in one generation keeps its events."""
    return folder.spool / f"events-{generation}-{training}-{rank}.bin"


def events_of(path: Path) -> EventsOf | None:
    """Whose events a file of `events_path` holds; None for any other file.

    Older names have no training: it is 1.
    """
    match = _NAME.fullmatch(path.name)
    return EventsOf(int(match[1]), int(match[2] or 1), int(match[3])) if match else None


def read_events(path: Path) -> list[EventSent]:
    """Every whole event of the file, in the order written; what a killed writer left half-written is left out.

    Raises OSError where the file can't be read (FileNotFoundError: there were none).
    """
    if path.exists() and not path.is_file():  # a pipe would block for ever
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    with path.open("rb") as file:
        data = file.read(EVENTS_FILE_MAX)
    events: list[EventSent] = []
    at = 0
    while at + _LENGTH_BYTES <= len(data):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(data[at:start], "big")
        if at > len(data):
            break
        try:
            events.append(_decoder.decode(data[start:at]))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            break  # nothing behind a broken entry can be trusted to begin where it should
    return events


class EventFile:
    """The writer's side: one process, one thread. Written without fsync: it outlives the process, not a power cut."""

    def __init__(self, path: Path, bytes_max: int = EVENTS_FILE_MAX) -> None:
        self.left_out = 0  # events that no longer fitted
        self._path = path
        self._bytes_max = bytes_max
        self._descriptor: int | None = None
        self._size = 0

    def append(self, event: EventSent) -> bool:
        """Write one event. False: the file is full, and the event counted. Raises OSError, the file then as before."""
        body = _encoder.encode(event)
        entry = len(body).to_bytes(_LENGTH_BYTES, "big") + body
        if self._size + len(entry) > self._bytes_max:
            self.left_out += 1
            return False
        descriptor = self._open()
        try:
            written = os.write(descriptor, entry)
        except OSError:
            os.ftruncate(descriptor, self._size)
            raise
        if written < len(entry):
            os.ftruncate(descriptor, self._size)
            raise OSError(f"{self._path}: {written} of {len(entry)} bytes written, the disk is full")
        self._size += written
        return True

    def clear(self) -> None:
        """Forget every event written: all are acknowledged."""
        if self._size and self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            self._size = 0

    def close(self) -> None:
        """Close the file, and remove it if it is empty."""
        if self._descriptor is None:
            return
        os.close(self._descriptor)
        self._descriptor = None
        if not self._size:
            self._path.unlink(missing_ok=True)

    def _open(self) -> int:
        if self._descriptor is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o600)
            self._size = os.fstat(self._descriptor).st_size
        return self._descriptor
