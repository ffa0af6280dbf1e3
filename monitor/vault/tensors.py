"""Named tensors as views of a checkpoint's bytes, with every size and offset checked first. No torch, no copy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from monitor.vault.dtypes import BY_NAME, BY_STORAGE, Array, Dtype
from monitor.vault.inert import Global, Node, Persistent, UnreadableError

_CHUNK_ELEMENTS = 128 * 1024  # 1 MB as float64: one step of a scan stays in the processor's cache
DIMENSIONS_MAX = 64  # torch's own limit for a tensor


class Tensor(NamedTuple):
    """One tensor of a checkpoint."""

    name: str  # as state_dict() calls it, below the key of the checkpoint: "ema.model.0.bn.running_var"
    dtype: Dtype
    shape: tuple[int, ...]
    raw: Array  # its numbers in any order; a number that the tensor repeats (stride 0) is there once
    is_parameter: bool  # True where the file says so; a state_dict does not
    top: str = ""  # the key at the top of the checkpoint below which it lies; empty: the checkpoint is this tensor

    @property
    def is_float(self) -> bool:
        return self.dtype.decode is not None

    def chunks(self) -> Iterator[Array]:
        """The numbers as 1-D arrays of floats, in no particular order. Nothing for whole numbers."""
        if self.dtype.decode is None:
            return
        flat = self.raw.reshape(-1)
        for start in range(0, flat.size, _CHUNK_ELEMENTS):
            yield self.dtype.decode(flat[start : start + _CHUNK_ELEMENTS])


def is_tensor(node: Node) -> bool:
    """True for what torch rebuilds into a tensor, also of kinds that are not read here."""
    return node.is_call_of("torch._utils", "_rebuild_") or node.is_call_of("torch._tensor", "_rebuild_from_type")


class TorchTensors:
    """Builds Tensors from the nodes of a torch archive and the entries that hold their storages."""

    def __init__(self, entries: Mapping[str, memoryview]) -> None:
        self._entries = entries
        # Views of one storage may overlap, but a file whose tensors claim many times its size is made to keep us busy.
        self._bytes_left = 4 * sum(len(view) for view in entries.values())
        self._spans: dict[tuple[object, ...], Array] = {}

    def build(self, name: str, node: Node, is_parameter: bool = False) -> Tensor:
        """The tensor a node stands for. Raises UnreadableError, in a sentence, for a kind or a size that can't be."""
        kind = node.made_by.name if isinstance(node.made_by, Global) else "?"
        args = node.args if isinstance(node.args, tuple) else ()
        if kind in ("_rebuild_parameter", "_rebuild_parameter_with_state") and args and isinstance(args[0], Node):
            if args[0].is_call_of("torch._utils", "_rebuild_parameter"):
                raise UnreadableError("a parameter of a parameter")
            return self.build(name, args[0], is_parameter=True)
        if kind == "_rebuild_from_type_v2" and len(args) >= 3:
            return self.build(name, _inner(args[0], args[2]), is_parameter=is_parameter)
        if kind in ("_rebuild_tensor", "_rebuild_tensor_v2") and len(args) >= 4:
            return self._dense(name, args, None, is_parameter)
        if kind == "_rebuild_tensor_v3" and len(args) >= 7:
            return self._dense(name, args, args[6], is_parameter)
        raise UnreadableError(f"a tensor of a kind that is not read here ({kind[:60]})")

    def _dense(self, name: str, args: tuple[object, ...], dtype_name: object, is_parameter: bool) -> Tensor:
        storage, offset, size, stride = args[:4]
        if not isinstance(storage, Persistent) or not isinstance(storage.key, tuple) or len(storage.key) not in (5, 6):
            raise UnreadableError("a tensor whose storage is not in the archive")
        _, storage_type, key, _, declared = storage.key[:5]
        if len(storage.key) == 6 and storage.key[5] is not None:
            raise UnreadableError("a tensor whose storage is a part of another one")
        dtype = storage_dtype(storage_type, dtype_name)
        shape, strides = _whole(size), _whole(stride)
        start = _whole((offset,))[0]
        if len(shape) != len(strides):
            raise UnreadableError(f"a tensor of {len(shape)} sizes and {len(strides)} strides")
        values = self._storage(key, storage_type, declared, dtype)
        return Tensor(name, dtype, shape, self._view(key, values, start, shape, strides), is_parameter)

    def _storage(self, key: object, storage_type: object, declared: object, dtype: Dtype) -> Array:
        entry = self._entries.get(f"data/{key}") if isinstance(key, str) else None
        if entry is None:
            raise UnreadableError("a tensor whose storage is not in the archive")
        unit_bytes = storage_dtype(storage_type, None).raw.itemsize
        if not isinstance(declared, int) or declared * unit_bytes != len(entry) or len(entry) % dtype.raw.itemsize:
            raise UnreadableError(
                f"storage {str(key)[:20]!r} declares {declared} numbers, the archive has {len(entry)} bytes"
            )
        return np.frombuffer(entry, dtype=dtype.raw) if len(entry) else np.empty(0, dtype=dtype.raw)

    def _view(self, key: object, values: Array, start: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
        """The numbers of the view; every one lies inside `values`."""
        if 0 in shape:
            return values[:0]
        kept = [(size, stride) for size, stride in zip(shape, strides, strict=True) if size > 1 and stride > 0]
        span = 1 + sum((size - 1) * stride for size, stride in kept)
        if start + span > values.size:
            raise UnreadableError(f"a tensor of shape {shape} that ends beyond its storage of {values.size} numbers")
        identity = (key, start, tuple(kept), values.dtype)
        if identity not in self._spans:
            self._spans[identity] = self._bounded(values[start : start + span], kept)
        return self._spans[identity]

    def _bounded(self, span: Array, kept: list[tuple[int, int]]) -> Array:
        elements = math.prod(size for size, _ in kept)
        self._bytes_left -= elements * span.dtype.itemsize
        if elements > span.size or self._bytes_left < 0:
            raise UnreadableError("tensors that overlap each other until they claim several times the size of the file")
        if elements == span.size:
            return span  # dense in some order of its dimensions (channels last, transposed): the order does not matter
        byte_strides = [stride * span.dtype.itemsize for _, stride in kept]
        return np.lib.stride_tricks.as_strided(span, [size for size, _ in kept], byte_strides, writeable=False)


def _inner(made_by: object, args: object) -> Node:
    """What a tensor subclass wraps. Only the plain rebuild functions: a subclass of a subclass is not read."""
    node = Node(made_by, args)
    if not node.is_call_of("torch._utils", "_rebuild_"):
        raise UnreadableError("a tensor subclass of a kind that is not read here")
    return node


def storage_dtype(storage_type: object, dtype_name: object) -> Dtype:
    """The format of a storage's numbers. Raises UnreadableError for one that is not read here."""
    found = None
    if isinstance(dtype_name, Global):
        found = BY_NAME.get(dtype_name.name) if dtype_name.module == "torch" else None
    elif isinstance(storage_type, Global) and storage_type.module in ("torch", "torch.storage"):
        found = BY_STORAGE.get(storage_type.name)
    if found is None:
        unknown = dtype_name if isinstance(dtype_name, Global) else storage_type
        raise UnreadableError(f"numbers of a format that is not read here ({getattr(unknown, 'name', '?')!s:.60})")
    return found


def _whole(values: object) -> tuple[int, ...]:
    """Sizes, strides or an offset: whole numbers from 0. torch.Size comes as a call with a tuple."""
    if (
        isinstance(values, Node)
        and values.is_call_of("torch", "Size")
        and isinstance(values.args, tuple)
        and values.args
    ):
        values = values.args[0]
    if not isinstance(values, (tuple, list)) or len(values) > DIMENSIONS_MAX:
        raise UnreadableError("a tensor whose shape is not a list of numbers")
    if not all(type(value) is int and 0 <= value < 2**62 for value in values):
        raise UnreadableError("a tensor whose shape or offset is negative or no number")
    return tuple(values)
