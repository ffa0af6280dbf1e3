"""The number formats a checkpoint may use, and how numpy reads each. Values only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Dtype(NamedTuple):
    """One number format."""

    name: str  # as torch calls it
    raw: np.dtype[Any]  # how its bytes are held, little-endian
    decode: Callable[[Array], Array] | None  # 1-D raw values to floats; None: whole numbers, which can't be non-finite


def _same(raw: Array) -> Array:
    return raw


def _from_float16(raw: Array) -> Array:
    """Numpy compares float16 in software: a scan is six times faster through float32."""
    return raw.astype(np.float32)


def _from_bfloat16(raw: Array) -> Array:
    """The upper half of a float32."""
    return (raw.astype(np.uint32) << 16).view(np.float32)


def _from_complex(raw: Array) -> Array:
    return raw.view(np.float32 if raw.dtype == np.complex64 else np.float64)


def _small_floats(
    exponent_bits: int, bias: int, nan_codes: tuple[int, ...], infinities: bool = False
) -> Callable[[Array], Array]:
    """Decoder of an 8-bit format: a table of its 256 values. Source: OCP 8-bit floating point specification."""
    mantissa_bits = 7 - exponent_bits
    codes = np.arange(256)
    exponent, mantissa = (codes & 127) >> mantissa_bits, (codes & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
    magnitude = np.where(exponent == 0, mantissa * 2.0 ** (1 - bias), (1 + mantissa) * 2.0 ** (exponent - float(bias)))
    table = np.where(codes > 127, -magnitude, magnitude).astype(np.float32)
    table[list(nan_codes)] = np.nan
    if infinities:
        table[[0x7C, 0xFC]] = np.inf, -np.inf
    return lambda raw: table[raw]


def _from_exponent(raw: Array) -> Array:
    """float8_e8m0fnu: a power of two and nothing else."""
    return np.where(raw == 255, np.nan, 2.0 ** (raw.astype(np.float64) - 127))


_DTYPES = (
    Dtype("float64", np.dtype("<f8"), _same),
    Dtype("float32", np.dtype("<f4"), _same),
    Dtype("float16", np.dtype("<f2"), _from_float16),
    Dtype("bfloat16", np.dtype("<u2"), _from_bfloat16),
    Dtype("complex128", np.dtype("<c16"), _from_complex),
    Dtype("complex64", np.dtype("<c8"), _from_complex),
    Dtype("float8_e4m3fn", np.dtype("u1"), _small_floats(4, 7, (0x7F, 0xFF))),
    Dtype("float8_e5m2", np.dtype("u1"), _small_floats(5, 15, (0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF), infinities=True)),
    Dtype("float8_e4m3fnuz", np.dtype("u1"), _small_floats(4, 8, (0x80,))),
    Dtype("float8_e5m2fnuz", np.dtype("u1"), _small_floats(5, 16, (0x80,))),
    Dtype("float8_e8m0fnu", np.dtype("u1"), _from_exponent),
    Dtype("int64", np.dtype("<i8"), None),
    Dtype("int32", np.dtype("<i4"), None),
    Dtype("int16", np.dtype("<i2"), None),
    Dtype("int8", np.dtype("i1"), None),
    Dtype("uint64", np.dtype("<u8"), None),
    Dtype("uint32", np.dtype("<u4"), None),
    Dtype("uint16", np.dtype("<u2"), None),
    Dtype("uint8", np.dtype("u1"), None),
    Dtype("bool", np.dtype("u1"), None),
)
BY_NAME = {dtype.name: dtype for dtype in _DTYPES}

BY_STORAGE = {
    storage: BY_NAME[name]
    for storage, name in {
        "DoubleStorage": "float64",
        "FloatStorage": "float32",
        "HalfStorage": "float16",
        "BFloat16Storage": "bfloat16",
        "ComplexDoubleStorage": "complex128",
        "ComplexFloatStorage": "complex64",
        "LongStorage": "int64",
        "IntStorage": "int32",
        "ShortStorage": "int16",
        "CharStorage": "int8",
        "ByteStorage": "uint8",
        "BoolStorage": "bool",
        "UntypedStorage": "uint8",
    }.items()
}

BY_SAFETENSORS = {
    code: BY_NAME[name]
    for code, name in {
        "F64": "float64",
        "F32": "float32",
        "F16": "float16",
        "BF16": "bfloat16",
        "C64": "complex64",
        "F8_E4M3": "float8_e4m3fn",
        "F8_E5M2": "float8_e5m2",
        "F8_E8M0": "float8_e8m0fnu",
        "I64": "int64",
        "I32": "int32",
        "I16": "int16",
        "I8": "int8",
        "U64": "uint64",
        "U32": "uint32",
        "U16": "uint16",
        "U8": "uint8",
        "BOOL": "bool",
    }.items()
}
