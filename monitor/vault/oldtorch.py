"""The file torch.save wrote before 1.6: five pickles, then each storage with its length. No checksum, no copy.

torch/serialization.py, _legacy_save: a magic number, the protocol, the sizes of the machine's numbers, the content, the
keys of the storages.
"""

from __future__ import annotations

import tarfile
from collections.abc import Mapping

from monitor.vault.inert import PICKLE_BYTES_MAX, Pickle, UnreadableError, read_pickle
from monitor.vault.tensors import storage_dtype

_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # 0x1950a86a20f9469cfc6c, pickled
_PROTOCOL = 1001
_HEAD_BYTES = 4096  # of the three pickles before the content: 150 bytes are usual
_LENGTH_BYTES = 8


def looks_like_old_torch(data: memoryview) -> bool:
    """True for a file that begins with the magic number, in any pickle protocol that torch has written."""
    return bytes(data[:1]) == b"\x80" and bytes(data[2 : 2 + len(_MAGIC)]) == _MAGIC


def read_old_torch(data: memoryview) -> tuple[Pickle, Mapping[str, memoryview]]:
    """The content's pickle, and the storages named as in a zip archive. Raises UnreadableError for a file cut off."""
    if _is_tar(data):  # torch would read it as one
        raise UnreadableError("a file of the old format that is a tar archive as well: not read here")
    at = 2 + len(_MAGIC)
    protocol, at = _next(data, at, _HEAD_BYTES)
    machine, at = _next(data, at, _HEAD_BYTES)
    if protocol.root != _PROTOCOL:
        raise UnreadableError(f"a torch file of an unknown protocol, expected {_PROTOCOL}")
    if not isinstance(machine.root, dict) or machine.root.get("little_endian") is not True:
        raise UnreadableError("the file is big-endian: not read here")
    content, at = _next(data, at, PICKLE_BYTES_MAX)
    keys, at = _next(data, at, PICKLE_BYTES_MAX)
    if not isinstance(keys.root, list) or protocol.names or machine.names or keys.names:
        raise UnreadableError("the list of storages is damaged")
    return content, _storages(data, at, keys.root, _number_bytes(content))


def _is_tar(data: memoryview) -> bool:
    try:
        tarfile.TarInfo.frombuf(bytes(data[: tarfile.BLOCKSIZE]), "ascii", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _next(data: memoryview, at: int, size_max: int) -> tuple[Pickle, int]:
    pickle = read_pickle(bytes(data[at : at + size_max]))
    return pickle, at + pickle.end


def _number_bytes(content: Pickle) -> dict[object, int]:
    """The bytes of one number of each storage, by its key: the content says what a storage holds."""
    found: dict[object, int] = {}
    for persistent in content.storages:
        if len(persistent) not in (5, 6) or persistent[0] != "storage" or not isinstance(persistent[2], str):
            raise UnreadableError("a storage that is described in an unknown way")
        size = storage_dtype(persistent[1], None).raw.itemsize
        if found.setdefault(persistent[2], size) != size:
            raise UnreadableError(f"storage {persistent[2][:20]!r} is described in two ways")
    return found


def _storages(data: memoryview, at: int, keys: list[object], number_bytes: dict[object, int]) -> dict[str, memoryview]:
    found: dict[str, memoryview] = {}
    for key in keys:
        if not isinstance(key, str) or key not in number_bytes or f"data/{key}" in found:
            raise UnreadableError("the list of storages does not match the content")
        start = at + _LENGTH_BYTES
        count = int.from_bytes(data[at:start], "little", signed=True)
        end = start + count * number_bytes[key]
        if start > len(data) or count < 0 or end > len(data):
            raise UnreadableError("the file ends within a storage: it is cut off or damaged")
        found[f"data/{key}"] = data[start:end]
        at = end
    if at != len(data):
        raise UnreadableError(f"the file has {len(data) - at} bytes after its last storage")
    return found
