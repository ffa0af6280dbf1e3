"""TensorBoard event files: TFRecord framing and the few protobuf fields that hold scalars, read without TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.imported_run import EndsEarly, Log, Role, Sample, UnreadableLog

CHECKED_BYTES_MAX = 64 * 1024  # a record with scalars is far smaller; the checksum of an image would cost seconds
SKIPPED_BYTES_MAX = 256 * 1024
MASK = 0xA282EAD8
DT_FLOAT, DT_DOUBLE = 1, 2


def _table() -> tuple[int, ...]:
    rows = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)  # Castagnoli, reflected
        rows.append(crc)
    return tuple(rows)


CRC32C = _table()


def masked_crc(data: bytes) -> int:
    """The checksum that TFRecord stores of `data`: CRC-32C, rotated and shifted."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC32C[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + MASK) & 0xFFFFFFFF


def _events(head: bytes, _: str) -> bool:
    return len(head) >= 12 and struct.unpack_from("<I", head, 8)[0] == masked_crc(head[:8])


@register("tensorboard", rank=0, recognises=_events)
def tensorboard(content: Content, name: str) -> Log:
    """A row a step: the scalars of one step, whichever tag they were written under.

    Raises:
        UnreadableLog: a checksum in the middle is wrong. A file that ends in the middle of a record is only truncated.
    """
    return Log(_samples(content, name), {"step": Role.STEP}, "batch")


def _samples(content: Content, name: str) -> Iterator[Sample]:
    step, values, number, first, ends = None, dict[str, float](), 0, 0, None
    try:
        for number, record in enumerate(_records(content, name), 1):
            at, scalars = _event(record)
            if not scalars:
                continue
            if at != step or scalars.keys() & values.keys():
                if values:
                    yield first, values
                step, values, first = at, {"step": float(at)}, number
            values.update(scalars)
    except EndsEarly as error:
        ends = error
    except (struct.error, IndexError) as error:
        raise UnreadableLog(name, f"record {number} is not an event ({error}); copy the file again") from error
    if values:
        yield first, values
    if ends is not None:
        raise ends


def _records(content: Content, name: str) -> Iterator[bytes]:
    """The payload of each record, checksums verified."""
    at = 0
    with content.open() as opened:
        while head := opened.read(12):
            if len(head) < 12:
                raise EndsEarly(f"the last {len(head)} bytes are the beginning of a record")
            length, length_crc = struct.unpack("<QI", head)
            if masked_crc(head[:8]) != length_crc:
                raise UnreadableLog(name, f"the checksum of the record at byte {at} is wrong; copy the file again")
            if length > SKIPPED_BYTES_MAX:
                opened.seek(at + 12 + length)
                payload = b""
            else:
                payload = opened.read(length)
            checksum = opened.read(4)
            if len(checksum) < 4:
                raise EndsEarly(f"the record at byte {at} ends early")
            if (
                len(payload) <= CHECKED_BYTES_MAX
                and payload
                and masked_crc(payload) != struct.unpack("<I", checksum)[0]
            ):
                raise UnreadableLog(name, f"the checksum of the data at byte {at + 12} is wrong; copy the file again")
            at += 16 + length
            if payload:
                yield payload


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Field numbers and values of one protobuf message; varints as numbers, everything else as its bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        else:
            size = {1: 8, 5: 4}[wire] if wire in (1, 5) else len(data) + 1
        if at + size > len(data):
            raise IndexError(f"field {key >> 3} ends after its message")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise IndexError("a number of more than ten bytes")


def _event(record: bytes) -> tuple[int, dict[str, float]]:
    """Step and scalars of an Event."""
    step, scalars = 0, {}
    for number, value in _fields(record):
        if number == 2 and isinstance(value, int):
            step = value if value < 1 << 63 else value - (1 << 64)
        elif number == 5 and isinstance(value, bytes):
            for kind, item in _fields(value):
                if kind == 1 and isinstance(item, bytes):
                    tag, scalar = _scalar(item)
                    if scalar is not None:
                        scalars[tag] = scalar
    return step, scalars


def _scalar(value: bytes) -> tuple[str, float | None]:
    """Tag and number of a Summary.Value: `simple_value`, or a tensor of one float as newer writers have it."""
    tag, scalar = "", None
    for number, item in _fields(value):
        if isinstance(item, int):
            continue
        if number == 1:
            tag = item.decode("utf-8", "replace")
        elif number == 2:
            scalar = struct.unpack("<f", item)[0]
        elif number == 8:
            scalar = _tensor(item)
    return tag, scalar


def _tensor(data: bytes) -> float | None:
    """The number of a tensor that holds one float; None: it holds something else."""
    fields = dict(_fields(data))
    shape = {DT_FLOAT: "<f", DT_DOUBLE: "<d"}.get(kind) if isinstance(kind := fields.get(1), int) else None
    for number in (4, 5, 6):  # tensor_content, float_val, double_val
        item = fields.get(number)
        if shape and isinstance(item, bytes) and len(item) == struct.calcsize(shape):
            return float(struct.unpack(shape, item)[0])
    return None
