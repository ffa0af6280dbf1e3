"""What a checkpoint file holds, as names, numbers and tensors: the same picture of torch's files and of safetensors.

One file is opened and mapped; nothing in it is executed, and nothing of it is copied but what a scan looks at.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple

from monitor.vault.arrays import is_array, read_array
from monitor.vault.formats import describe_unknown
from monitor.vault.inert import Node, Persistent, Pickle, UnreadableError, read_pickle
from monitor.vault.leaves import Leaf, Walk
from monitor.vault.loading import Loading, what_loading_runs
from monitor.vault.oldtorch import looks_like_old_torch, read_old_torch
from monitor.vault.roles import KeyRole, role_of
from monitor.vault.safetensors import looks_like_safetensors, read_safetensors
from monitor.vault.tensors import Tensor, TorchTensors
from monitor.vault.torchzip import read_entries
from trainer_hooks.wire.number_text import number_of

TENSORS_MAX = 1_000_000
_REASONS_MAX = 8  # unreadable tensors reported one by one
_BLOB_BYTES = 1024  # of bytes that may be numbers; tokens, dates and digests are shorter

Scalar = str | int | float | bool | None


class LooseNumber(NamedTuple):
    """A NaN or an infinity that is kept outside of tensors and arrays."""

    name: str
    top: str
    value: float
    is_attribute: bool  # True: of an object
    in_list: bool


class Contents(NamedTuple):
    """A checkpoint's content."""

    tensors: tuple[Tensor, ...]
    scalars: dict[str, Scalar]  # by dotted name
    unreadable: tuple[str, ...]  # sentences: what could not be read; empty: nothing
    has_checksums: bool  # the format carries checksums, and they were right
    loose: tuple[LooseNumber, ...] = ()
    loading: Loading = Loading((), ())


def read_contents(file: BinaryIO, *, seen_saved: bool = False) -> Contents:
    """The content of an open checkpoint. Raises UnreadableError for a file that can't be read as a whole.

    `seen_saved`: a hook saw the training save this very file, so it may hold objects of the script's own classes.
    """
    try:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError as error:
        raise UnreadableError("the file is empty") from error
    data = memoryview(mapped)
    if bytes(data[:4]) == b"PK\x03\x04":
        pickle, entries = _open_zip(file, data)
        return _collect(pickle, entries, seen_saved=seen_saved)
    if looks_like_old_torch(data):
        pickle, entries = read_old_torch(data)
        return _collect(pickle, entries, seen_saved=seen_saved)._replace(has_checksums=False)
    if looks_like_safetensors(data):
        return Contents(read_safetensors(data), {}, (), has_checksums=False)
    raise UnreadableError(describe_unknown(data))


def _open_zip(file: BinaryIO, data: memoryview) -> tuple[Pickle, Mapping[str, memoryview]]:
    entries = read_entries(file, data)
    if "data.pkl" not in entries:
        raise UnreadableError("the archive has no data.pkl: torch.save did not write it")
    if bytes(entries.get("byteorder", b"little")) != b"little":
        raise UnreadableError("the archive is big-endian: not read here")
    # A copy of the pickle: at most PICKLE_BYTES_MAX, which read_pickle refuses before it looks at it.
    return read_pickle(bytes(entries["data.pkl"])), entries


def _collect(pickle: Pickle, entries: Mapping[str, memoryview], *, seen_saved: bool) -> Contents:
    collector = _Collector(TorchTensors(entries))
    walk = Walk(pickle.root)
    for leaf in walk:
        collector.take(leaf, walk)
    return Contents(
        tuple(collector.tensors),
        collector.scalars,
        collector.reasons(),
        has_checksums=True,
        loose=tuple(collector.loose),
        loading=what_loading_runs(pickle, seen_saved=seen_saved),
    )


class _Collector:
    """Takes every leaf of a checkpoint and keeps what is to be judged."""

    def __init__(self, builder: TorchTensors) -> None:
        self.tensors: list[Tensor] = []
        self.scalars: dict[str, Scalar] = {}
        self.loose: list[LooseNumber] = []
        self._unreadable: list[str] = []
        self._builder = builder

    def take(self, leaf: Leaf, walk: Walk) -> None:
        value = leaf.value
        if isinstance(value, (Node, Persistent)):
            try:
                self._take_numbers(leaf, value, walk)
            except UnreadableError as error:
                self._unreadable.append(f"{shown(leaf.name)}: {error}")
        elif isinstance(value, str):
            self._take_text(leaf, value)
        elif value is None or isinstance(value, (int, float)):
            self._take_plain(leaf, value)
        elif _may_be_numbers(value) and role_of(leaf.top) is not KeyRole.RECORD:
            self._unreadable.append(f"{shown(leaf.name)}: bytes, which may be numbers")
        if len(self.tensors) + len(self._unreadable) > TENSORS_MAX:
            raise UnreadableError(f"more than {TENSORS_MAX} tensors")

    def _take_text(self, leaf: Leaf, value: str) -> None:
        """A text, or a number that is written as one."""
        try:
            number = number_of(value)
        except (ValueError, OverflowError):
            self._unreadable.append(f"{shown(leaf.name)}: a number written as text that is none")
        else:
            self._take_plain(leaf, value if number is None else number)

    def _take_plain(self, leaf: Leaf, value: Scalar) -> None:
        if _is_finite(self.scalars.get(leaf.name)):  # two may have one name: the bad one counts
            self.scalars[leaf.name] = value
        if isinstance(value, float) and not _is_finite(value):
            in_list = bool(leaf.path) and leaf.path[-1].isdigit()
            self.loose.append(LooseNumber(leaf.name, leaf.top, value, leaf.is_attribute, in_list))

    def _take_numbers(self, leaf: Leaf, value: Node | Persistent, walk: Walk) -> None:
        if isinstance(value, Persistent):
            raise UnreadableError("a bare storage, whose numbers have no shape")
        if value.is_call_of("torch.storage", "_load_from_bytes"):
            raise UnreadableError("a storage pickled inside the pickle")
        found = read_array(leaf.name, value) if is_array(value) else self._builder.build(leaf.name, value)
        if isinstance(found, Tensor):
            self.tensors.append(found._replace(top=leaf.top))
        elif found is not None:
            walk.push(leaf.path, found)

    def reasons(self) -> tuple[str, ...]:
        """What could not be read: the first ones, and how many more."""
        more = len(self._unreadable) - _REASONS_MAX
        rest = [f"and {more} more tensor{'' if more == 1 else 's'} that could not be read"] if more > 0 else []
        return (*self._unreadable[:_REASONS_MAX], *rest)


def _is_finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _may_be_numbers(value: object) -> bool:
    return isinstance(value, (bytes, bytearray)) and len(value) >= _BLOB_BYTES


def shown(name: str) -> str:
    """A name from a file, safe to print: no control characters, no lines, at most 200 characters."""
    return ascii(name)[1:-1][:200]
