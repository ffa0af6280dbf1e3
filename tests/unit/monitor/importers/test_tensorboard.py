"""TensorBoard event files: bytes made here by the published format, and bytes that the library itself wrote."""

from __future__ import annotations

import base64
import struct

import pytest

from monitor.recorded.importers import read_log
from monitor.recorded.importers.imported_run import NotALog, Role, UnreadableLog
from monitor.recorded.importers.tensorboard import masked_crc


def record(payload: bytes) -> bytes:
    length = struct.pack("<Q", len(payload))
    return length + struct.pack("<I", masked_crc(length)) + payload + struct.pack("<I", masked_crc(payload))


def field(number: int, payload: bytes) -> bytes:
    return bytes([number << 3 | 2, len(payload)]) + payload


def event(step: int, **scalars: float) -> bytes:
    """An Event with simple values."""
    values = b"".join(
        field(1, field(1, tag.replace("__", "/").encode()) + b"\x15" + struct.pack("<f", value))
        for tag, value in scalars.items()
    )
    return record(b"\x09" + struct.pack("<d", 1.0) + bytes([0x10, step]) + field(5, values))


VERSION = record(b"\x09" + struct.pack("<d", 1.0) + field(3, b"brain.Event:2"))
FILE = VERSION + b"".join(
    event(step, train__loss=loss) + event(step, learning_rate=0.5)
    for step, loss in enumerate([2.0, 1.5, float("nan")], 1)
)


def test_scalars_of_one_step_are_one_row() -> None:
    run = read_log(FILE, "events.out.tfevents.1")
    assert run.kind == "tensorboard"
    assert [(row.step, row.learning_rates, row.nonfinite) for row in run.rows] == [
        (1, (0.5,), 0),
        (2, (0.5,), 0),
        (3, (0.5,), 1),
    ]


def test_the_checksum_is_the_published_one() -> None:
    """CRC-32C of "123456789" is 0xE3069283 (RFC 3720); TFRecord rotates it and adds a constant."""
    crc = 0xE3069283
    assert masked_crc(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_a_newer_writers_tensor_of_one_float_is_a_scalar() -> None:
    tensor = b"\x08\x01" + field(4, struct.pack("<f", 1.25))
    value = field(1, field(1, b"loss") + field(8, tensor))
    run = read_log(VERSION + record(bytes([0x10, 7]) + field(5, value)), "events")
    assert [(row.step, row.loss) for row in run.rows] == [(7, 1.25)]


def test_where_no_tag_is_called_a_loss_the_tags_are_named() -> None:
    odd = VERSION + event(1, train__nll=2.0, train__acc=0.5) + event(2, train__nll=1.5, train__acc=0.6)
    with pytest.raises(NotALog, match=r"no tag is a training loss \(found: train/nll, train/acc\); name it with"):
        read_log(odd, "events")
    run = read_log(odd, "events", {"train/nll": Role.LOSS})
    assert [row.loss for row in run.rows] == [2.0, 1.5]
    with pytest.raises(UnreadableLog, match=r"has no tag 'train/nl'; did you mean 'train/nll'\?"):
        read_log(odd, "events", {"train/nl": Role.LOSS})


@pytest.mark.parametrize("missing", [1, 5, 20, 40])
def test_a_file_that_ends_early_is_read_up_to_there(missing: int) -> None:
    run = read_log(FILE[:-missing], "events")
    assert len(run.rows) >= 2
    assert run.truncated


def test_a_flipped_bit_is_a_named_error() -> None:
    damaged = bytearray(FILE)
    damaged[len(VERSION) + 25] ^= 1
    with pytest.raises(UnreadableLog, match=rf"events: the checksum of the data at byte {len(VERSION) + 12} is wrong"):
        read_log(bytes(damaged), "events")


def test_a_record_that_is_no_event_is_a_named_error() -> None:
    with pytest.raises(UnreadableLog, match="record 2 is not an event"):
        read_log(VERSION + record(b"\x2a\x7f\x01"), "events")


# written by tensorboard 2.21's EventFileWriter: train/loss 2.0, 1.0, NaN at steps 0, 300, 600
OF_THE_LIBRARY = base64.b64decode(
    "SAAAAAAAAAD+kkidCXofFO3TwNpBGg1icmFpbi5FdmVudDoyUi4KLHRlbnNvcmJvYXJkLnN1bW1hcnkud3JpdGVyLmV2ZW50X2ZpbGVfd3Jp"
    "dGVyrfTE0R4AAAAAAAAA2dwSMgkAAAAAAADwPyoTChEKCnRyYWluL2xvc3MVAAAAQMoIvpMhAAAAAAAAAAF77PYJAAAAAAAA8D8QrAIqEwoR"
    "Cgp0cmFpbi9sb3NzFQAAgD9CRIN4IQAAAAAAAAABe+z2CQAAAAAAAPA/ENgEKhMKEQoKdHJhaW4vbG9zcxUAAMB/G5nr9Q=="
)


def test_the_librarys_own_file_is_read() -> None:
    run = read_log(OF_THE_LIBRARY, "events.out.tfevents.1")
    assert [(row.step, row.loss, row.nonfinite) for row in run.rows[:2]] == [(0, 2.0, 0), (300, 1.0, 0)]
    assert (run.rows[2].step, run.rows[2].nonfinite) == (600, 1)
