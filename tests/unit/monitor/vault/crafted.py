"""Archives made by hand, as an attacker makes them."""

from __future__ import annotations

import io
import pickle
import zipfile
from typing import Any

import msgspec


def archive(pickled: bytes, more: dict[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A torch-like zip archive around a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in {"data.pkl": pickled, "byteorder": b"little", "version": b"3\n", **(more or {})}.items():
            file.writestr(f"x/{name}", data)
    return buffer.getvalue()


def text(value: str) -> bytes:
    """The opcode that pushes a string."""
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def whole(value: int) -> bytes:
    """The opcode that pushes a whole number."""
    return pickle.dumps(value, 2)[2:-1]


def called(module: str, name: str, *arguments: bytes) -> bytes:
    """Opcodes that push what module.name(*arguments) returns."""
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def storage(key: str, numel: int, kind: str = "FloatStorage") -> bytes:
    """Opcodes that push a storage."""
    return b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + whole(numel) + b"tQ"


def tensor(key: str, numel: int, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """Opcodes that push a tensor."""
    lists = [b"(" + b"".join(whole(value) for value in values) + b"t" for values in (size, stride)]
    hooks = called("collections", "OrderedDict")
    return called("torch._utils", "_rebuild_tensor_v2", storage(key, numel), whole(offset), *lists, b"\x89", hooks)


def good(size: int = 4) -> bytes:
    """Opcodes that push an honest tensor of `size` x `size`; its storage is data/0."""
    return tensor("0", size * size, 0, (size, size), (size, 1))


def mapping(**values: bytes) -> bytes:
    """Opcodes that push a dict."""
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


def whole_pickle(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def safetensors(header: dict[str, Any], payload: bytes) -> bytes:
    encoded = msgspec.json.encode(header)
    return len(encoded).to_bytes(8, "little") + encoded + payload
