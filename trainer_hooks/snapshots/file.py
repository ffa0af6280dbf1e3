"""A snapshot as a file: written by a helper thread, read at a start. Plain values only."""

from __future__ import annotations

import os
import pickle
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from trainer_hooks.copying import Copy, leave_room
from trainer_hooks.snapshots.tree import Tree
from trainer_hooks.wire.digest import sha256_of

FORMAT = 1


class SnapshotFileError(Exception):
    """The file is not a snapshot that can be read. Says which file and why."""


def write(tree: Tree, target: Path, size: int) -> Copy:
    """Write a tree to a new file, durably; `size` in bytes, at most. Leaves no file after an error. Raises OSError."""
    leave_room(target.parent, size)
    writing = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(writing, "r+b") as file:
            torch.save({"trainwarden_snapshot": FORMAT, **tree}, file)  # given a path, older torch stalls all threads
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
            tree = torch.load(path, map_location="cpu", weights_only=True) if READS_FLOATS else _load(path)
    except OSError:
        raise
    except Exception as error:
        raise SnapshotFileError(f"{path}: is no snapshot ({type(error).__name__}: {error})") from error
    if not isinstance(tree, dict) or tree.get("trainwarden_snapshot") != FORMAT:
        raise SnapshotFileError(f"{path}: is no snapshot of format {FORMAT}")
    return tree


class _PlainUnpickler(pickle.Unpickler):
    """Makes tensors and plain values, and nothing else, as torch's own reader does from 2.0 on."""

    def find_class(self, module: str, name: str) -> Any:
        """What a tensor is made of. Raises UnpicklingError for all else."""
        if (module, name) in _NAMES or (module == "torch" and name in _STORAGES):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no plain value")


_NAMES = (("torch._utils", "_rebuild_tensor_v2"), ("collections", "OrderedDict"))
_NUMBERS = ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_STORAGES = tuple(f"{kind}Storage" for kind in (*_NUMBERS, "ComplexDouble", "ComplexFloat"))
_OURS: Any = SimpleNamespace(__name__=__name__, Unpickler=_PlainUnpickler)
READS_FLOATS = int(torch.__version__.split(".")[0]) >= 2  # with weights_only; 1.13 knows no number with a fraction


def _load(path: Path) -> Tree:
    """In place of torch.load, which takes no pickle_module of another in 1.13."""
    serialization: Any = torch.serialization
    with path.open("rb") as file, serialization._open_zipfile_reader(file) as archive:
        return serialization._load(archive, "cpu", _OURS, encoding="utf-8")


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
