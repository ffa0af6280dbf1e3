"""The safetensors format, read as its specification says: a JSON header, then the tensors without holes or overlaps.

https://github.com/huggingface/safetensors#format. It carries no checksum: only a digest vouches for its bytes.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from monitor.vault.dtypes import BY_SAFETENSORS
from monitor.vault.inert import UnreadableError
from monitor.vault.tensors import DIMENSIONS_MAX, Tensor

HEADER_BYTES_MAX = 100_000_000  # the reference implementation's own limit


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def looks_like_safetensors(data: memoryview) -> bool:
    """True if the file starts with a length and a JSON object."""
    return len(data) >= 10 and bytes(data[8:9]) == b"{"


def read_safetensors(data: memoryview) -> tuple[Tensor, ...]:
    """Every tensor of the file, in the order of its bytes. Raises UnreadableError where the file breaks the format."""
    length = int.from_bytes(data[:8], "little")
    if length > HEADER_BYTES_MAX or 8 + length > len(data):
        raise UnreadableError(
            f"the safetensors header declares {length} bytes, the file has {len(data)}: it is cut off or damaged"
        )
    payload = data[8 + length :]
    try:
        raw = msgspec.json.decode(bytes(data[8 : 8 + length]), type=dict[str, msgspec.Raw])
        entries = {
            name: msgspec.json.decode(entry, type=_Entry) for name, entry in raw.items() if name != "__metadata__"
        }
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableError(f"the safetensors header is damaged: {str(error)[:120]}") from error
    tensors = []
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        if entry.data_offsets[0] != end:
            raise UnreadableError("the safetensors file has a hole or an overlap between its tensors")
        tensors.append(_tensor(name, entry, payload))
        end = entry.data_offsets[1]
    if end != len(payload):
        raise UnreadableError(f"the safetensors file has {len(payload)} bytes of tensors, its header declares {end}")
    return tuple(tensors)


def _tensor(name: str, entry: _Entry, payload: memoryview) -> Tensor:
    dtype = BY_SAFETENSORS.get(entry.dtype)
    if dtype is None:
        raise UnreadableError(f"numbers of a format that is not read here ({entry.dtype[:60]})")
    start, end = entry.data_offsets
    if (
        len(entry.shape) > DIMENSIONS_MAX
        or min(entry.shape, default=0) < 0
        or end - start != math.prod(entry.shape) * dtype.raw.itemsize
        or end > len(payload)
    ):
        raise UnreadableError("a tensor of the safetensors file whose size does not match its shape")
    raw = np.frombuffer(payload[start:end], dtype=dtype.raw) if end > start else np.empty(0, dtype=dtype.raw)
    return Tensor(name, dtype, entry.shape, raw, is_parameter=False, top=name)
