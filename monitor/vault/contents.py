"""What a checkpoint file holds, as names, numbers and tensors: the same picture of torch archives and of safetensors.

One file is opened and mapped; nothing in it is executed, and nothing of it is copied but what a scan looks at.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from monitor.vault.calls import unexpected_calls
from monitor.vault.inert import Node, Persistent, UnreadableError, read_pickle
from monitor.vault.safetensors import looks_like_safetensors, read_safetensors
from monitor.vault.tensors import Tensor, TorchTensors, is_tensor
from monitor.vault.torchzip import read_entries

DEPTH_MAX = 200  # keys from the root to a number; a DetectionModel needs 12
TENSORS_MAX = 1_000_000
_REASONS_MAX = 8  # unreadable tensors reported one by one
_MODULE_PARTS = (
    "_parameters",
    "_buffers",
    "_modules",
)  # torch.nn.Module keeps its members in these; names leave them out
_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch/serialization.py, MAGIC_NUMBER pickled

Path = tuple[str, ...]
Scalar = str | int | float | bool | None


class Contents(NamedTuple):
    """A checkpoint's content."""

    tensors: tuple[Tensor, ...]
    scalars: dict[str, Scalar]  # by dotted name
    unreadable: tuple[str, ...]  # sentences: what could not be read or trusted; empty: nothing
    has_checksums: bool  # the format carries checksums, and they were right


def read_contents(file: BinaryIO) -> Contents:
    """The content of an open checkpoint. Raises UnreadableError for a file that can't be read as a whole."""
    try:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError as error:
        raise UnreadableError("the file is empty") from error
    data = memoryview(mapped)
    if bytes(data[:4]) == b"PK\x03\x04":
        return _read_torch(file, data)
    if bytes(data[: len(_LEGACY_MAGIC)]) == _LEGACY_MAGIC:
        raise UnreadableError(
            "a torch file of the old format (before 1.6): save it with torch.save's zip format to have it verified"
        )
    if looks_like_safetensors(data):
        return Contents(read_safetensors(data), {}, (), has_checksums=False)
    raise UnreadableError("neither a torch archive nor a safetensors file")


def _read_torch(file: BinaryIO, data: memoryview) -> Contents:
    entries = read_entries(file, data)
    if "constants.pkl" in entries:
        raise UnreadableError("a TorchScript archive, which holds code: not read here")
    if "data.pkl" not in entries:
        raise UnreadableError("the archive has no data.pkl: torch.save did not write it")
    if bytes(entries.get("byteorder", b"little")) != b"little":
        raise UnreadableError("the archive is big-endian: not read here")
    # A copy of the pickle: at most PICKLE_BYTES_MAX, which read_pickle refuses before it looks at it.
    pickle = read_pickle(bytes(entries["data.pkl"]))
    contents = _collect(pickle.root, TorchTensors(entries))
    unexpected = list(unexpected_calls(pickle.calls))[:_REASONS_MAX]
    return contents._replace(unreadable=(*unexpected, *contents.unreadable))


def _collect(root: object, builder: TorchTensors) -> Contents:
    tensors: list[Tensor] = []
    scalars: dict[str, Scalar] = {}
    unreadable: list[str] = []
    for path, leaf in _leaves(root):
        name = ".".join(path)
        if isinstance(leaf, (Node, Persistent)):
            try:
                tensors.append(_tensor(name, leaf, builder))
            except UnreadableError as error:
                unreadable.append(f"{shown(name)}: {error}")
        elif leaf is None or isinstance(leaf, (str, int, float)):
            scalars[name] = leaf
        if len(tensors) + len(unreadable) > TENSORS_MAX:
            raise UnreadableError(f"more than {TENSORS_MAX} tensors")
    if len(unreadable) > _REASONS_MAX:
        unreadable[_REASONS_MAX:] = [f"and {len(unreadable) - _REASONS_MAX} more tensors that could not be read"]
    return Contents(tuple(tensors), scalars, tuple(unreadable), has_checksums=True)


def _tensor(name: str, leaf: Node | Persistent, builder: TorchTensors) -> Tensor:
    if isinstance(leaf, Persistent):
        raise UnreadableError("a bare storage, whose numbers have no shape")
    if leaf.is_call_of("torch.storage", "_load_from_bytes"):
        raise UnreadableError("a storage pickled inside the pickle")
    return builder.build(name, leaf)


def _leaves(root: object) -> Iterator[tuple[Path, object]]:
    """Every tensor, storage and scalar with its path, each container once: shared and endless ones end the same way."""
    seen: set[int] = set()
    stack: list[tuple[Path, object]] = [((), root)]
    while stack:
        path, value = stack.pop()
        if not isinstance(value, (Node, Persistent, dict, list, tuple)):
            yield path, value
            continue
        if id(value) in seen:
            continue
        seen.add(id(value))
        if len(path) > DEPTH_MAX:
            raise UnreadableError(f"the pickle nests deeper than {DEPTH_MAX} levels")
        if isinstance(value, Persistent) or (isinstance(value, Node) and _is_leaf(value)):
            yield path, value
        else:
            stack.extend(reversed([((*path, *extra), child) for extra, child in _children(value)]))


def _is_leaf(node: Node) -> bool:
    return is_tensor(node) or node.is_call_of("torch.storage", "_load_from_bytes")


def _children(value: object) -> Iterator[tuple[Path, object]]:
    """What a container holds, each with the names that lead to it: none, one or two."""
    if isinstance(value, dict):
        yield from (((_named(key),), child) for key, child in value.items())
    elif isinstance(value, (list, tuple)):
        yield from (((str(index),), child) for index, child in enumerate(value))
    elif isinstance(value, Node):
        yield from _state(value.state)
        yield from _children(value.items)
        yield from _children(value.members)
        if value.args:
            yield ("args",), value.args


def _state(state: object) -> Iterator[tuple[Path, object]]:
    """An object's attributes. The members of a torch.nn.Module come without the names of the dicts that hold them."""
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):  # __dict__ and __slots__
        yield from _state(state[0])
        yield from _state(state[1])
    elif not isinstance(state, dict):
        if state is not None:
            yield ("state",), state
    elif "_parameters" in state:
        for part in _MODULE_PARTS:
            yield (), state.get(part)
        yield from (((_named(key),), child) for key, child in state.items() if key not in _MODULE_PARTS)
    else:
        yield from _children(state)


def _named(key: object) -> str:
    return (
        key if isinstance(key, str) else repr(key)[:100] if isinstance(key, (int, float, tuple, bytes, bool)) else "?"
    )


def shown(name: str) -> str:
    """A name from a file, safe to print: no control characters, no lines, at most 200 characters."""
    return ascii(name)[1:-1][:200]
