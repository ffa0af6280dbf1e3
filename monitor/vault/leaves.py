"""Every number of a checkpoint with the names that lead to it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from monitor.vault.arrays import is_array
from monitor.vault.inert import Global, Node, Persistent, UnreadableError
from monitor.vault.roles import is_walked_last
from monitor.vault.tensors import is_tensor

DEPTH_MAX = 200  # keys from the root to a number; a DetectionModel needs 12
_NAME_CHARS = 500  # of one key: a name is read by people, and is built anew for each number below it
_MODULE_PARTS = ("_parameters", "_buffers", "_modules")  # torch.nn.Module keeps its members in these

Path = tuple[str, ...]
_REBUILD_ARGUMENTS = {  # of what torch puts a tensor together from: how many are read as the tensor itself
    "_rebuild_parameter": 1,
    "_rebuild_parameter_with_state": 1,
    "_rebuild_from_type_v2": 3,
    "_rebuild_tensor_v2": 4,
    "_rebuild_tensor_v3": 4,
}


class Leaf(NamedTuple):
    """A tensor, an array, a storage, or a plain value."""

    path: Path
    value: object
    is_attribute: bool  # True: of an object, or somewhere below one

    @property
    def name(self) -> str:
        return ".".join(self.path)

    @property
    def top(self) -> str:
        return self.path[0] if self.path else ""


class Walk:
    """Walks a tree once. Each container counts once: shared and endless ones end the same way."""

    def __init__(self, root: object) -> None:
        self._seen: set[int] = set()
        self._stack = [Leaf((), root, False)]

    def push(self, path: Path, value: object) -> None:
        """Walk into something that lies at `path` as well."""
        self._stack.append(Leaf(path, value, False))

    def __iter__(self) -> Iterator[Leaf]:
        while self._stack:
            leaf = self._stack.pop()
            value = _plain_of(leaf.value)
            if not isinstance(value, (Node, Persistent, dict, list, tuple)):
                yield leaf._replace(value=value)
                continue
            if id(value) in self._seen:
                continue
            self._seen.add(id(value))
            if len(leaf.path) > DEPTH_MAX:
                raise UnreadableError(f"the pickle nests deeper than {DEPTH_MAX} levels")
            below = leaf.is_attribute or _below_object(value)
            if _is_leaf(value):
                yield leaf
                children = _beside(value)
            else:
                children = _children(value)
            found = [Leaf((*leaf.path, *extra), child, below) for extra, child in children]
            if not leaf.path:
                found.sort(key=lambda one: is_walked_last(one.top))
            self._stack.extend(reversed(found))


def _is_leaf(value: object) -> bool:
    if isinstance(value, Node):
        return is_tensor(value) or is_array(value) or value.is_call_of("torch.storage", "_load_from_bytes")
    return isinstance(value, Persistent)


def _plain_of(value: object) -> object:
    """The bytes that protocol 2 writes as text, the number of a Decimal; any other value as it is."""
    if not (isinstance(value, Node) and isinstance(value.args, tuple) and value.args):
        return value
    if value.is_call_of("_codecs", "encode"):
        return str(value.args[0]).encode("latin-1", "replace")
    if value.is_call_of("decimal", "Decimal") and isinstance(value.args[0], str):
        try:
            return float(value.args[0])
        except ValueError:  # a signalling NaN, or no number at all
            return math.nan
    return value


def _below_object(value: object) -> bool:
    return isinstance(value, Node) and value.has_state


def _beside(value: object) -> Iterator[tuple[Path, object]]:
    """What a tensor's node holds beside the tensor: its hooks and attributes, one of which may be a tensor too."""
    if isinstance(value, Node) and is_tensor(value) and isinstance(value.made_by, Global):
        own = _REBUILD_ARGUMENTS.get(value.made_by.name)
        if own is not None and isinstance(value.args, tuple):
            yield from (((str(index),), child) for index, child in enumerate(value.args) if index >= own)


def _children(value: object) -> Iterator[tuple[Path, object]]:
    """What a container holds, each with the names that lead to it: none, one or two."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield (_named(key),), child
            if isinstance(key, (Node, Persistent)):
                yield ("key",), key
    elif isinstance(value, (list, tuple)):
        yield from (((str(index),), child) for index, child in enumerate(value))
    elif isinstance(value, Node):
        yield from _state(value.state)
        yield from _children(value.items)
        yield from _children(value.members)
        if value.args:
            yield ("args",), value.args


def _state(state: object) -> Iterator[tuple[Path, object]]:
    """An object's attributes: of its __dict__, or of that and of its __slots__."""
    parts = state if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict) else (state,)
    for part in parts:
        if isinstance(part, dict):
            yield from _attributes(part)
        elif part is not None:
            yield ("state",), part


def _attributes(state: dict[object, object]) -> Iterator[tuple[Path, object]]:
    """The members of a torch.nn.Module come without the names of the dicts that hold them."""
    if "_parameters" not in state:
        yield from _children(state)
        return
    for part in _MODULE_PARTS:
        yield (), state.get(part)
    yield from _children({key: child for key, child in state.items() if key not in _MODULE_PARTS})


def _named(key: object) -> str:
    if isinstance(key, str):
        return key[:_NAME_CHARS]
    return repr(key)[:100] if isinstance(key, (int, float, tuple, bytes, bool)) else "?"
