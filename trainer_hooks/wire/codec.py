"""Bytes to messages and back. Pure: whatever bytes come in, a message or a WireError comes out."""

from __future__ import annotations

import zlib
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from trainer_hooks.wire.messages import PROTOCOL, Downlink, Frame

FRAME_BYTES_MAX = 256 * 1024  # 256 records of about 400 B are 100 kB; an event with long settings may be 64 kB
FRAME_RECORDS = 256
TEXT_MAX = 4096  # characters of any one string we send: a stack trace or a path fits, a log does not

CHECKSUM_BYTES = 5  # the last ones of a frame: msgpack's mark of a 32-bit number, and the number
_NUMBER_32, _WIDEST = b"\xce", 0xFFFFFFFF

T = TypeVar("T")

_frame_decoder: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Frame)
_downlink_decoder: msgspec.msgpack.Decoder[Downlink] = msgspec.msgpack.Decoder(Downlink)
_encoder = msgspec.msgpack.Encoder()


class WireError(Exception):
    """The peer sent something that is not a message. Says what was wrong; the fault is the peer's."""


def encode(message: Frame | Downlink) -> bytes:
    """The message as msgpack. Raises WireError where it is over FRAME_BYTES_MAX: the caller sends fewer records."""
    if isinstance(message, Frame):
        body = _encoder.encode(replace(message, checksum=_WIDEST))[:-CHECKSUM_BYTES]
        data = body + _NUMBER_32 + zlib.crc32(body).to_bytes(4, "big")
    else:
        data = _encoder.encode(message)
    if len(data) > FRAME_BYTES_MAX:
        raise WireError(
            f"{type(message).__name__} of {len(data)} bytes: the limit is {FRAME_BYTES_MAX}, send fewer records"
        )
    return data


def decode_frame(data: bytes) -> Frame:
    """A hook's frame.

    Raises WireError for bytes that are too long, damaged, no msgpack, no Frame, or of another protocol.
    """
    frame = _decode(_frame_decoder, data)
    if frame.checksum is not None and frame.checksum != zlib.crc32(data[:-CHECKSUM_BYTES]):
        raise WireError("the checksum of the frame differs: it was damaged on its way")
    if frame.protocol != PROTOCOL:
        raise WireError(f"protocol {frame.protocol}: this side speaks {PROTOCOL}, install the same trainwarden on both")
    return frame


def decode_downlink(data: bytes) -> Downlink:
    """A daemon's message. Raises WireError as decode_frame does."""
    return _decode(_downlink_decoder, data)


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    if len(data) > FRAME_BYTES_MAX:
        raise WireError(f"{len(data)} bytes: the limit is {FRAME_BYTES_MAX}")
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"not a message of this protocol: {error}") from error
