"""Numpy's arrays and scalars, as a pickle holds them: their bytes as named numbers. No call of numpy's own loaders."""

from __future__ import annotations

import math
import re

import numpy as np

from monitor.vault.dtypes import Array, Dtype
from monitor.vault.inert import Global, Node, UnreadableError
from monitor.vault.tensors import DIMENSIONS_MAX, Tensor

_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_CODE = re.compile(r"([fc])(2|4|8|16|32)|([iub])([1248])")
_TEXT_CODE = re.compile(r"[SUaV]\d+")


def is_array(node: Node) -> bool:
    """True for what numpy builds an array or a scalar of."""
    if any(node.is_call_of(module, name) for module in _MULTIARRAY for name in ("_reconstruct", "scalar")):
        return True
    return any(node.is_call_of(module, "_frombuffer") for module in _NUMERIC)


def read_array(name: str, node: Node) -> Tensor | list[object] | None:
    """The numbers of an array. An array of objects is the list of them; one of text has no numbers: None.

    Raises UnreadableError, in a sentence, for a format that is not read here and for a size that can't be.
    """
    kind = node.made_by.name if isinstance(node.made_by, Global) else ""
    args = node.args if isinstance(node.args, tuple) else ()
    shape: object = ()
    if kind == "scalar" and len(args) == 2:
        described, data = args
    elif kind == "_frombuffer" and len(args) >= 3:
        data, described, shape = args[:3]
    elif kind == "_reconstruct" and isinstance(node.state, tuple) and len(node.state) == 5:
        _, shape, described, _, data = node.state
    else:
        raise UnreadableError("a numpy array of a kind that is not read here")
    code, order = _format(described)
    if code[:1] == "O":
        return data if isinstance(data, list) else [data]
    if _TEXT_CODE.fullmatch(code) and code[0] != "V":
        return None
    return _tensor(name, _dtype(code, order), shape, _bytes(data))


def _format(described: object) -> tuple[str, str]:
    """The code and the byte order of a numpy.dtype("f4", ...) with the state (3, "<", ...)."""
    args = described.args if isinstance(described, Node) and described.is_call_of("numpy", "dtype") else None
    code = args[0] if isinstance(args, tuple) and args else None
    if not isinstance(described, Node) or not isinstance(code, str):
        raise UnreadableError("a numpy array whose format is not described in the usual way")
    state = described.state if isinstance(described.state, tuple) else ()
    fields = [part for part in state[2:5] if part is not None]
    if fields:
        raise UnreadableError("a numpy array of records, whose numbers are not read here")
    order = state[1] if len(state) > 1 else "<"
    return code, order if isinstance(order, str) and order in ("<", ">", "|", "=") else "<"


def _dtype(code: str, order: str) -> Dtype:
    if not _CODE.fullmatch(code):
        raise UnreadableError(f"a numpy array of a format that is not read here ({ascii(code)[1:-1][:20]})")
    try:
        raw = np.dtype(("<" if order == "|" else order) + code)
    except TypeError as error:
        raise UnreadableError(f"a numpy array of a format that is not read here ({code})") from error
    if raw.kind in "iub":
        return Dtype(raw.name, raw, None)
    return Dtype(raw.name, raw, _parts if raw.kind == "c" else _as_it_is)


def _as_it_is(raw: Array) -> Array:
    return raw.astype(np.float32) if raw.dtype.itemsize == 2 else raw


def _parts(raw: Array) -> Array:
    """The real and the imaginary parts, one after the other."""
    return np.concatenate([raw.real, raw.imag])


def _tensor(name: str, dtype: Dtype, shape: object, data: bytes) -> Tensor:
    if not isinstance(shape, tuple) or len(shape) > DIMENSIONS_MAX:
        raise UnreadableError("a numpy array whose shape is not a list of numbers")
    if not all(type(size) is int and 0 <= size < 2**62 for size in shape):
        raise UnreadableError("a numpy array whose shape is negative or no number")
    if math.prod(shape) * dtype.raw.itemsize != len(data):
        raise UnreadableError(f"a numpy array of {len(data)} bytes, which does not match its shape")
    return Tensor(name, dtype, shape, np.frombuffer(data, dtype=dtype.raw), is_parameter=False)


def _bytes(data: object) -> bytes:
    """The bytes themselves: protocol 2 writes them as text of the same code points."""
    if isinstance(data, Node) and _is_made_of_text(data):
        args = data.args if isinstance(data.args, tuple) else ()
        data = args[0] if args else b""
    if isinstance(data, str):
        try:
            return data.encode("latin-1")
        except UnicodeEncodeError as error:
            raise UnreadableError("a numpy array whose bytes are written as other text") from error
    if isinstance(data, (bytes, bytearray)):
        return bytes(data)
    raise UnreadableError("a numpy array whose bytes are not in the file")


def _is_made_of_text(node: Node) -> bool:
    return node.is_call_of("_codecs", "encode") or node.is_call_of("builtins", "byte")
