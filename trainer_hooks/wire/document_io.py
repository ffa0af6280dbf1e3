"""Reads and writes the documents of the run folder: whole or not at all, and readable after a power cut."""

from __future__ import annotations

import os
import stat
import uuid
from pathlib import Path
from typing import TypeVar

import msgspec

from trainer_hooks.wire.plan import Plan, Receipt
from trainer_hooks.wire.run_documents import (
    Exit,
    Generation,
    HangDumpFile,
    LookWanted,
    Manifest,
    RunEnvironment,
    RunOver,
    RunSpec,
    TrainingClaim,
)

DOCUMENT_BYTES_MAX = 16 * 1024 * 1024  # the largest is a plan, with a few kB; a longer file is none of ours


class RunFolderError(Exception):
    """A document of the run folder is missing, unreadable or of another version. Says which and what to do."""


Document = TypeVar(
    "Document",
    RunSpec,
    RunEnvironment,
    Generation,
    Exit,
    RunOver,
    Plan,
    Receipt,
    Manifest,
    TrainingClaim,
    HangDumpFile,
    LookWanted,
)


def read(path: Path, kind: type[Document]) -> Document:
    """The document. Raises RunFolderError that names the file where it is missing, torn or of another shape."""
    try:
        return msgspec.json.decode(read_bytes(path), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RunFolderError(f"{path}: is no {kind.__name__} ({error})") from error


def read_bytes(path: Path) -> bytes:
    """A file's bytes. Raises RunFolderError where it is missing, no plain file (a pipe blocks), or too long."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise RunFolderError(f"{path}: can't be read (not a plain file)")
            if found.st_size > DOCUMENT_BYTES_MAX:
                raise RunFolderError(f"{path}: can't be read ({found.st_size} bytes; at most {DOCUMENT_BYTES_MAX})")
            return file.read()
    except OSError as error:
        raise RunFolderError(f"{path}: can't be read ({error.strerror})") from error
    except ValueError as error:  # a NUL in the path
        raise RunFolderError(f"{path}: can't be read ({error})") from error


def write(path: Path, document: msgspec.Struct) -> None:
    """Durably: a reader sees the old file or the whole new one, and after it returns a power cut keeps the new one."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(document), indent=1))


def write_bytes(path: Path, data: bytes) -> None:
    """As `write`, for bytes: temporary file beside it, fsync, rename, fsync of the folder."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
