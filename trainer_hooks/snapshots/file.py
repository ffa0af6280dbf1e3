"""A snapshot as a file: written by a helper thread, read at a start. Plain values only."""

from __future__ import annotations

import functools
import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from trainer_hooks.copying import Copy, leave_room
from trainer_hooks.snapshots.tree import Tree
from trainer_hooks.wire.digest import sha256_of
from trainer_hooks.wire.number_text import number_of, text_of

FORMAT = 1


class SnapshotFileError(Exception):
    """The file is not a snapshot that can be read. Says which file and why."""


def write(tree: Tree, target: Path, size: int) -> Copy:
    """Write a tree to a new file, durably; `size` in bytes, at most. Leaves no file after an error. Raises OSError."""
    leave_room(target.parent, size)
    writing = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(writing, "r+b") as file:
            whole = {"trainwarden_snapshot": FORMAT, **tree}
            torch.save(_mapped(whole, _as_text), file)  # given a path, older torch stalls all threads
            file.flush()
            os.fsync(file.fileno())
            written = file.seek(0, os.SEEK_END)
            file.seek(0)
            return Copy(written, sha256_of(file))
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def read(path: Path) -> Tree:
    """The tree in a file that was verified. Raises SnapshotFileError, OSError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch 2.0 warns of its own storages
            tree = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:
        raise SnapshotFileError(f"{path}: is no snapshot ({type(error).__name__}: {error})") from error
    if not isinstance(tree, dict) or tree.get("trainwarden_snapshot") != FORMAT:
        raise SnapshotFileError(f"{path}: is no snapshot of format {FORMAT}")
    return _mapped(tree, _as_number)


@functools.cache
def _reads_floats() -> bool:
    """False: torch's reader of plain values does not know Python's floats (1.13)."""
    file = io.BytesIO()
    torch.save([0.5], file)
    file.seek(0)
    try:
        torch.load(file, weights_only=True)
    except Exception:  # noqa: BLE001  whatever it is, it was not read
        return False
    return True


def _as_text(value: Tree) -> Tree:
    return text_of(value) if isinstance(value, float) and not _reads_floats() else value


def _as_number(value: Tree) -> Tree:
    number = number_of(value) if isinstance(value, str) else None
    return value if number is None else number


def _mapped(tree: Tree, change: Callable[[Tree], Tree]) -> Tree:
    """The same tree with every leaf changed."""
    if isinstance(tree, dict):
        return {key: _mapped(each, change) for key, each in tree.items()}
    return [_mapped(each, change) for each in tree] if isinstance(tree, list) else change(tree)


def read_verified(path: Path, digest: str) -> Tree:
    """The tree in a file that must have this sha256. Raises SnapshotFileError, OSError."""
    with path.open("rb") as file:
        found = sha256_of(file)
    if found != digest:
        raise SnapshotFileError(f"{path}: has sha256 {found}, the plan says {digest}")
    return read(path)


def size_of(tree: Tree) -> int:
    """Bytes of all tensors in a tree."""
    if isinstance(tree, torch.Tensor):
        return int(tree.numel() * tree.element_size())
    if isinstance(tree, dict):
        return sum(size_of(each) for each in tree.values())
    return sum(size_of(each) for each in tree) if isinstance(tree, list) else 0
